"""HubClient: asks a hub of Hugging Face's shape over HTTP: two requests a model, bounded in time, size and redirects.

Only the configured endpoint is ever asked: a redirect to another origin is refused, so no answer of the hub's can send
us, or a token, anywhere else.
"""

from __future__ import annotations

import json
from types import TracebackType
from urllib.parse import quote

import aiohttp
from yarl import URL

from kaito.api.meta import Json
from kaito.hub.endpoint import checked_endpoint
from kaito.hub.errors import HubError, HubUnreachable, ModelGated, ModelMissing
from kaito.hub.model import CONFIG, MISTRAL_CONFIG, HubModel, Listing, hub_model
from kaito.plan.catalog import is_hub_name

TIMEOUT_S = 10.0  # of one request
CONNECT_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 8
REDIRECTS_MAX = 3  # a model that was renamed, and the hub's own cache of small files
CONFIG_BYTES_MAX = 1 << 20
LISTING_BYTES_MAX = 8 << 20
RETRY_AFTER_MAX_S = 600.0


class HubClient:
    """To be used as an asynchronous context. `token`: the one for questions that bring none."""

    def __init__(self, endpoint: str, token: str = "") -> None:
        self.endpoint, self._token = checked_endpoint(endpoint), token
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=True,  # proxies
        )

    async def __aenter__(self) -> HubClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def find(self, model_id: str, token: str = "") -> HubModel:
        """The model, and whether it is gated. Raises a HubError of the kind that says why not."""
        if not is_hub_name(model_id):
            raise ModelMissing(f"{model_id!r} is no name of a model: expected ORG/MODEL")
        path = quote(model_id)
        found = await self._object(model_id, f"/api/models/{path}?blobs=true", LISTING_BYTES_MAX, token)
        listing = Listing.of(model_id, found)
        name = MISTRAL_CONFIG if CONFIG not in listing.sizes and MISTRAL_CONFIG in listing.sizes else CONFIG
        if listing.sizes and name not in listing.sizes:
            return hub_model(listing, {})  # which says what it is instead
        config = await self._object(model_id, f"/{path}/resolve/main/{name}", CONFIG_BYTES_MAX, token)
        return hub_model(listing, config)

    async def _object(self, model_id: str, path: str, bytes_max: int, token: str) -> Json:
        try:
            body = await self._get(model_id, URL(self.endpoint + path, encoded=True), bytes_max, token or self._token)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            what = f"{type(error).__name__} {error}".strip()
            raise HubUnreachable(f"{self.endpoint} does not answer: {what}") from error
        try:
            found = json.loads(body, parse_constant=lambda _: None)  # models do write Infinity and NaN
        except (ValueError, RecursionError) as error:
            raise HubUnreachable(f"{self.endpoint}{path}: the answer is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise HubUnreachable(f"{self.endpoint}{path}: expected a JSON object")
        return found

    async def _get(self, model_id: str, url: URL, bytes_max: int, token: str) -> bytes:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        for _ in range(REDIRECTS_MAX + 1):
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status < 300 or location is None:
                    if response.status != 200:
                        raise _error(model_id, response, has_token=bool(token))
                    return await _bounded(response, bytes_max)
                url = response.url.join(URL(location))
                if url.origin() != URL(self.endpoint).origin():
                    raise HubUnreachable(f"{self.endpoint} sends us to {url.origin()}, which is not asked")
        raise HubUnreachable(f"{self.endpoint} sends us around, {REDIRECTS_MAX} times and more")


async def _bounded(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > bytes_max:
            raise HubUnreachable(f"{response.url}: the answer is longer than {bytes_max} bytes")
    return bytes(body)


def _error(model_id: str, response: aiohttp.ClientResponse, *, has_token: bool) -> HubError:
    """The hub says 401 for what is not there, too; its X-Error-Code tells them apart."""
    code = response.headers.get("X-Error-Code", "")
    if code == "GatedRepo" or (response.status == 403 and code != "RepoNotFound"):
        why = "the token does not open it" if has_token else "no token is given"
        return ModelGated(f"{model_id} is gated, and {why}")
    if response.status in (401, 404):
        hidden = "is not on the hub, or is private" + (", or the token is not valid" if has_token else "")
        return ModelMissing(f"{model_id} {'has no config.json' if code == 'EntryNotFound' else hidden}")
    what = f"the hub says {response.status} {response.reason} about {model_id}"
    return HubUnreachable(what, retry_after_s=_retry_after_s(response))


def _retry_after_s(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), RETRY_AFTER_MAX_S) if text.isdecimal() else 0.0

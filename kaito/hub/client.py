"""HubClient: asks a hub of Hugging Face's shape over HTTP: two requests a model, bounded; answers are kept."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from kaito.api.meta import Json
from kaito.hub.errors import HubError, HubUnreachable, ModelGated, ModelMissing
from kaito.hub.model import preset_of
from kaito.plan.catalog import Preset

ENDPOINT = "https://huggingface.co"
TIMEOUT_S = 10.0
CONFIG_BYTES_MAX = 1 << 20
LISTING_BYTES_MAX = 8 << 20
KEPT_MAX = 256


def endpoint_and_token() -> tuple[str, str]:
    """As the hub's own client finds them: $HF_ENDPOINT, $HF_TOKEN."""
    return os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/"), os.environ.get("HF_TOKEN", "")


class HubClient:
    """To be used as an asynchronous context. `find` keeps what it has found; failures are asked again."""

    def __init__(self, endpoint: str, token: str = "") -> None:
        self._endpoint = endpoint
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        self._kept: OrderedDict[str, Preset] = OrderedDict()

    async def __aenter__(self) -> HubClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def find(self, model_id: str) -> Preset:
        """The model as a preset. Raises a HubError of the kind that says why not."""
        organisation, slash, name = model_id.partition("/")
        if not (organisation and slash and name) or "/" in name or ".." in model_id:
            raise ModelMissing(f"{model_id!r} is no name of a model: expected ORG/MODEL")
        if model_id in self._kept:
            self._kept.move_to_end(model_id)
            return self._kept[model_id]
        path = quote(model_id)
        listing = await self._json(model_id, f"/api/models/{path}?blobs=true", LISTING_BYTES_MAX)
        config = await self._json(model_id, f"/{path}/resolve/main/config.json", CONFIG_BYTES_MAX)
        files = [item for item in listing.get("siblings") or () if isinstance(item, dict)]
        sizes = {str(item.get("rfilename")): int(item.get("size") or 0) for item in files}
        license = str((listing.get("cardData") or {}).get("license") or "")
        preset = preset_of(str(listing.get("id") or model_id), config, sizes, license=license)
        self._kept[model_id] = preset
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return preset

    async def _json(self, model_id: str, path: str, bytes_max: int) -> Json:
        url = self._endpoint + path
        try:
            async with self._session.get(url) as response:
                if response.status >= 400:
                    raise _error(model_id, response)
                body = await _bounded(response, bytes_max)
        except (aiohttp.ClientError, TimeoutError) as error:
            what = f"{type(error).__name__} {error}".strip()
            raise HubUnreachable(
                f"{self._endpoint} does not answer ({what}); check the network or HF_ENDPOINT"
            ) from error
        try:
            found: Any = msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise HubUnreachable(f"{url}: the answer is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise HubUnreachable(f"{url}: expected a JSON object")
        return found


async def _bounded(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > bytes_max:
            raise HubUnreachable(f"{response.url}: more than {bytes_max} bytes")
    return bytes(body)


def _error(model_id: str, response: aiohttp.ClientResponse) -> HubError:
    """The hub says 401 for what is not there, too; its X-Error-Code tells them apart."""
    code = response.headers.get("X-Error-Code", "")
    if code == "GatedRepo" or (response.status == 403 and code != "RepoNotFound"):
        return ModelGated(f"{model_id} is gated: accept its licence on the hub, and set HF_TOKEN to a token that has")
    if response.status in (401, 404):
        what = "has no config.json" if code == "EntryNotFound" else "is not on the hub, or is private"
        return ModelMissing(f"{model_id} {what}: check the name, or set HF_TOKEN")
    return HubUnreachable(f"the hub says {response.status} {response.reason} about {model_id}; try again later")

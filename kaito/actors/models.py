"""Models: what the hub says of a model, asked with a Secret's token; for reader, webhook and `kaito plan` alike.

Tenants' Secrets are read one at a time, by name, and only where an administrator lets us (the component `hub-tokens` of
the manifests). Where we may not, the hub is asked with the operator's own token: the pods have theirs all the same.
"""

from __future__ import annotations

import base64
import binascii
from typing import Protocol

from kaito.api.core import SECRET
from kaito.api.meta import ObjectRef
from kaito.backoff import Chance
from kaito.kube.client import KubeClient
from kaito.kube.errors import ApiError, Forbidden, NotFound
from kaito.plan.catalog import Lookup
from kaito.plan.model import TOKEN_KEY

SECRET_AGAIN_S = 30.0  # Secrets are not watched: what was missing is looked for again


class Hub(Protocol):
    async def look_up(self, model_id: str, token: str = "") -> Lookup:
        """Never raises for what a hub may do."""
        ...


class NoHub:
    """The hub of one who has none."""

    async def look_up(self, model_id: str, token: str = "") -> Lookup:
        return Lookup("unreachable", f"nobody here can ask a model hub about {model_id}", again_s=SECRET_AGAIN_S)


class _NoToken(Exception):
    """The Secret holds no token that we could read."""


class Models:
    def __init__(self, client: KubeClient | None, hub: Hub, rng: Chance) -> None:
        """`client`: None where there is no cluster whose Secrets could be read."""
        self._client, self._hub, self._rng = client, hub, rng

    async def look_up(self, model_id: str, secret: ObjectRef | None) -> Lookup:
        """`secret`: whose token to ask with; None: the hub client's own. Never raises for what others may answer."""
        if secret is None or self._client is None:
            return await self._hub.look_up(model_id)
        try:
            token = await self._token(self._client, secret)
        except Forbidden:
            found = await self._hub.look_up(model_id)
            if found.outcome not in ("gated", "missing"):
                return found
            return self._no_token(f"{found.message}; the operator may not read Secret {secret.name}")
        except _NoToken as error:
            return self._no_token(str(error))
        return await self._hub.look_up(model_id, token)

    def _no_token(self, why: str) -> Lookup:
        return Lookup("no-token", why, again_s=self._rng.uniform(0.5, 1.0) * SECRET_AGAIN_S)

    async def _token(self, client: KubeClient, secret: ObjectRef) -> str:
        try:
            found = (await client.read(SECRET, secret)).get("data") or {}
        except Forbidden:
            raise
        except NotFound as error:
            raise _NoToken(f"there is no Secret {secret.name} in namespace {secret.namespace}") from error
        except ApiError as error:
            raise _NoToken(f"Secret {secret.name} cannot be read: {error}") from error
        try:
            token = base64.b64decode(str(found.get(TOKEN_KEY) or ""), validate=True).decode("ascii").strip()
        except (binascii.Error, UnicodeDecodeError):
            token = ""
        if not token or not token.isprintable():
            raise _NoToken(f"Secret {secret.name} has no token under the key {TOKEN_KEY}")
        return token

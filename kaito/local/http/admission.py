"""Admission: a write goes through the registered webhooks before the core carries it out.

The core is synchronous and webhooks are not: the write is tried without effect, they are shown what would come of it,
and then it is carried out for good, unless the object has changed meanwhile: then all of it is done again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kaito.api.meta import Json
from kaito.local.apiserver import ApiServer, Resource
from kaito.local.apiserver.errors import stale
from kaito.local.apiserver.json_values import copied
from kaito.local.http.target import Target
from kaito.local.http.webhooks import Attempt, Webhooks

TRIES_MAX = 5


class Admission:
    def __init__(self, server: ApiServer, webhooks: Webhooks) -> None:
        self._server, self._webhooks = server, webhooks

    async def write(
        self, operation: str, resource: Resource, target: Target, call: Callable[..., Json], options: dict[str, Any]
    ) -> Json:
        """`call(**options)` as admission lets it through. Raises StatusError."""
        old = self._stored(resource, target)
        if not self._webhooks.concern(self._attempt(operation, resource, target, old, None, options["dry_run"])):
            return call(**options)
        for _ in range(TRIES_MAX):
            tried = call(**options | {"dry_run": True})
            attempt = self._attempt(operation, resource, target, copied(old), tried, options["dry_run"])
            verdict = await self._webhooks.ask(attempt)
            now = self._stored(resource, target)
            if now is old:  # states are never changed in place
                with self._server.mutated_by(verdict.patches):
                    made = call(**options)
                self._server.warnings.extend(verdict.warnings)
                return made
            old = now
        raise stale(resource.plural, resource.group, target.name)

    async def delete(self, resource: Resource, target: Target, *, dry_run: bool) -> None:
        """Raises StatusError when a webhook keeps the object."""
        old = self._stored(resource, target)
        attempt = self._attempt("DELETE", resource, target, copied(old), None, dry_run)
        if old is not None and self._webhooks.concern(attempt):
            await self._webhooks.ask(attempt)

    def _stored(self, resource: Resource, target: Target) -> Json | None:
        return self._server.store.get(resource.key, (target.namespace, target.name)) if target.name else None

    def _attempt(
        self, operation: str, resource: Resource, target: Target, old: Json | None, new: Json | None, dry_run: bool
    ) -> Attempt:
        name = target.name or str(((new or {}).get("metadata") or {}).get("name", ""))
        return Attempt(operation, resource, target.namespace, name, target.subresource, old, new, dry_run)

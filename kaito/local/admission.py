"""The rules of `plan.validate` inside the local API server, where a real one asks the webhook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from kaito.api.core import CONFIG_MAP, NODE, ConfigMap, Node
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.local.apiserver import Admission, Admit, ApiServer, Resource
from kaito.plan.validate import denial, errors_of, validate, warnings_of
from kaito.settings import PlanSettings
from kaito.state.view import Answer


class CoreEvidence:
    """The Evidence of one who holds the whole store."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    def is_synced(self, kind: ResourceKind) -> bool:
        return True

    def is_synced_ref(self, kind: ResourceKind, namespace: str, name: str) -> bool:
        return True

    def nodes(self, match_labels: dict[str, str]) -> tuple[Node, ...]:
        bodies = self._objects(NODE)
        wanted = match_labels.items()
        found = (body for _, body in sorted(bodies.items()) if wanted <= (body["metadata"].get("labels") or {}).items())
        return tuple(msgspec.convert(body, Node, strict=False) for body in found)

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        body = self._objects(CONFIG_MAP).get((namespace, name))
        return msgspec.convert(body, ConfigMap, strict=False) if body is not None else None

    def answer(self, root: ObjectRef, key: str) -> Answer | None:
        return None

    def _objects(self, kind: ResourceKind) -> Any:
        return self._server.store.objects.get((kind.group, kind.plural), {})


def admission(server: Callable[[], ApiServer], settings: PlanSettings) -> Admit:
    """`server` is asked late: it is made with what this returns."""

    def admit(_operation: str, resource: Resource, old: Json | None, new: Json) -> Admission:
        found = validate(new, old, CoreEvidence(server()), settings)
        wrong = errors_of(found)
        status = denial(resource.kind, resource.group, new["metadata"].get("name", ""), wrong) if wrong else None
        return Admission(status, tuple(f"{item} [{item.rule}]" for item in warnings_of(found)))

    return admit

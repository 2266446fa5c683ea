"""The rules of `plan.validate` inside the local API server: what a webhook of the operator refuses elsewhere."""

from __future__ import annotations

import msgspec

from kaito.api.core import CONFIG_MAP, NODE, ConfigMap, Node
from kaito.api.meta import Json, ResourceKind
from kaito.local.apiserver import ApiServer, Resource
from kaito.plan.validate import is_judged, violations
from kaito.settings import PlanSettings

CONFIG_MAP_PLACE, NODE_PLACE = (CONFIG_MAP.group, CONFIG_MAP.plural), (NODE.group, NODE.plural)


class Admission:
    """An `Admit` of the core: the reasons to refuse. `server` is the one that asks: it knows ConfigMaps and nodes, and
    tells the warnings.
    """

    def __init__(self, settings: PlanSettings) -> None:
        self.server: ApiServer | None = None
        self._settings = settings

    def __call__(self, operation: str, resource: Resource, old: Json | None, new: Json | None) -> list[str]:
        if new is None or not is_judged(resource.group, resource.kind):
            return []
        found = violations(new, old, facts=self, settings=self._settings)
        if self.server is not None:
            self.server.warnings.extend(str(each) for each in found if each.severity == "warning")
        return [str(each) for each in found if each.severity == "error"]

    def is_synced(self, kind: ResourceKind) -> bool:
        return True

    def nodes(self, match_labels: dict[str, str]) -> tuple[Node, ...]:
        stored = self.server.store.objects.get(NODE_PLACE, {}).values() if self.server is not None else ()
        return tuple(
            msgspec.convert(node, Node, strict=False)
            for node in stored
            if match_labels.items() <= (node["metadata"].get("labels") or {}).items()
        )

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        # From the store: a call of the server would count as the one whose warnings are told.
        found = self.server.store.get(CONFIG_MAP_PLACE, (namespace, name)) if self.server is not None else None
        return None if found is None else msgspec.convert(found, ConfigMap, strict=False)

    def is_synced_ref(self, kind: ResourceKind, namespace: str, name: str) -> bool:
        return True

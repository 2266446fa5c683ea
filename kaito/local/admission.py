"""The rules of `plan.validate` inside the local API server: what a webhook of the operator refuses elsewhere."""

from __future__ import annotations

import msgspec

from kaito.api.core import CONFIG_MAP, ConfigMap, Node
from kaito.api.meta import Json, ResourceKind
from kaito.local.apiserver import ApiServer, Resource, StatusError
from kaito.plan.validate import is_judged, violations
from kaito.settings import PlanSettings


class Admission:
    """An `Admit` of the core: the reasons to refuse. `server` is the one that asks; it knows the ConfigMaps."""

    def __init__(self, settings: PlanSettings) -> None:
        self.server: ApiServer | None = None
        self._settings = settings

    def __call__(self, operation: str, resource: Resource, old: Json | None, new: Json | None) -> list[str]:
        if new is None or not is_judged(resource.group, resource.kind):
            return []
        found = violations(new, old, facts=self, settings=self._settings)
        return [str(each) for each in found if each.severity == "error"]

    def is_synced(self, kind: ResourceKind) -> bool:
        return True

    def nodes(self, match_labels: dict[str, str]) -> tuple[Node, ...]:
        return ()

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        if self.server is None:
            return None
        resource = self.server.registry.find(CONFIG_MAP.group, CONFIG_MAP.version, CONFIG_MAP.plural)
        try:
            return msgspec.convert(self.server.get(resource, namespace, name), ConfigMap, strict=False)
        except StatusError:
            return None

    def is_synced_ref(self, kind: ResourceKind, namespace: str, name: str) -> bool:
        return True

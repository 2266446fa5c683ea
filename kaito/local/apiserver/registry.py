"""Registry: which resources are served. Built-ins by version, CustomResourceDefinitions at run time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kaito.api.meta import Json
from kaito.local.apiserver.errors import no_such_resource

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Resource:
    """One served resource in one version. Objects of all versions of (group, plural) are the same objects."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()  # status, scale, log, binding, eviction, proxy
    verbs: tuple[str, ...] = VERBS
    schema: Json | None = field(default=None, compare=False)  # openAPIV3Schema of a custom resource
    columns: tuple[Json, ...] = field(default=(), compare=False)  # additionalPrinterColumns
    is_custom: bool = False
    scale: Json | None = field(default=None, compare=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> tuple[str, str]:
        return (self.group, self.plural)

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"


def _row(group_version: str, plural: str, kind: str, *, subresources: str = "", namespaced: bool = True,
         short: str = "", categories: str = "") -> Resource:  # fmt: skip
    group, _, version = group_version.rpartition("/")
    return Resource(
        group, version, plural, kind, namespaced, kind.lower(), tuple(short.split()), tuple(categories.split()),
        frozenset(subresources.split()),
    )  # fmt: skip


BUILT_INS = (
    _row("v1", "namespaces", "Namespace", namespaced=False, short="ns", subresources="status finalize"),
    _row("v1", "nodes", "Node", namespaced=False, short="no", subresources="status"),
    _row("v1", "pods", "Pod", short="po", categories="all",
         subresources="status log binding eviction proxy ephemeralcontainers"),
    _row("v1", "services", "Service", short="svc", categories="all", subresources="status proxy"),
    _row("v1", "endpoints", "Endpoints", short="ep"),
    _row("v1", "configmaps", "ConfigMap", short="cm"),
    _row("v1", "secrets", "Secret"),
    _row("v1", "events", "Event", short="ev"),
    _row("v1", "serviceaccounts", "ServiceAccount", short="sa"),
    _row("v1", "persistentvolumeclaims", "PersistentVolumeClaim", short="pvc", subresources="status"),
    _row("apps/v1", "statefulsets", "StatefulSet", short="sts", categories="all", subresources="status scale"),
    _row("apps/v1", "deployments", "Deployment", short="deploy", categories="all", subresources="status scale"),
    _row("apps/v1", "replicasets", "ReplicaSet", short="rs", categories="all", subresources="status scale"),
    _row("apps/v1", "daemonsets", "DaemonSet", short="ds", categories="all", subresources="status"),
    _row("apps/v1", "controllerrevisions", "ControllerRevision"),
    _row("batch/v1", "jobs", "Job", categories="all", subresources="status"),
    _row("coordination.k8s.io/v1", "leases", "Lease"),
    _row("storage.k8s.io/v1", "storageclasses", "StorageClass", namespaced=False, short="sc"),
    _row("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False,
         short="crd crds", categories="api-extensions", subresources="status"),
    _row("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration",
         namespaced=False, categories="api-extensions"),
    _row("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration",
         namespaced=False, categories="api-extensions"),
)  # fmt: skip
BUDGETS = _row("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", short="pdb", subresources="status")
BETA_BUDGETS = _row("policy/v1beta1", "poddisruptionbudgets", "PodDisruptionBudget", short="pdb", subresources="status")


class Registry:
    """The resources that are served now, in a fixed order."""

    def __init__(self, emulate: tuple[int, int]) -> None:
        budgets = BUDGETS if emulate >= (1, 21) else BETA_BUDGETS
        self._built_in = (*BUILT_INS, budgets)
        self._custom: dict[str, tuple[Resource, ...]] = {}

    def all(self) -> list[Resource]:
        return [*self._built_in, *(item for name in sorted(self._custom) for item in self._custom[name])]

    def find(self, group: str, version: str, plural: str) -> Resource:
        """Raises StatusError 404 for a resource that is not served."""
        for item in self.all():
            if (item.group, item.version, item.plural) == (group, version, plural):
                return item
        raise no_such_resource()

    def of_key(self, key: tuple[str, str]) -> Resource | None:
        """Any served version of the resource; custom ones answer with the storage version first."""
        return next((item for item in self.all() if item.key == key), None)

    def of_kind(self, group: str, kind: str) -> Resource | None:
        return next((item for item in self.all() if (item.group, item.kind) == (group, kind)), None)

    def serve_custom(self, crd: Json) -> None:
        """From now on the CRD's served versions are served, as it says."""
        self._custom[crd["metadata"]["name"]] = tuple(_custom(crd))

    def drop_custom(self, name: str) -> None:
        self._custom.pop(name, None)


def _custom(crd: Json) -> Iterable[Resource]:
    spec = crd["spec"]
    names = spec["names"]
    for version in sorted(spec["versions"], key=lambda item: not item.get("storage")):
        if not version.get("served"):
            continue
        subresources = version.get("subresources") or {}
        yield Resource(
            spec["group"],
            version["name"],
            names["plural"],
            names["kind"],
            spec["scope"] == "Namespaced",
            names.get("singular") or names["kind"].lower(),
            tuple(names.get("shortNames") or ()),
            tuple(names.get("categories") or ()),
            frozenset(name for name in ("status", "scale") if name in subresources),
            schema=(version.get("schema") or {}).get("openAPIV3Schema") or {"type": "object"},
            columns=tuple(version.get("additionalPrinterColumns") or ()),
            is_custom=True,
            scale=subresources.get("scale"),
        )

"""Discovery: which groups, versions and resources there are, in the old form and in the aggregated one. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kaito.api.meta import Json
from kaito.local.apiserver import Resource

DISCOVERY = "apidiscovery.k8s.io"
AGGREGATED = "APIGroupDiscoveryList"
AGGREGATED_FROM = (1, 27)  # beta, on by default; older servers answer in the old form
# Subresources whose object has a kind of its own, and what may be done with each.
SUBRESOURCE_KINDS: dict[str, tuple[str, str, str]] = {
    "scale": ("autoscaling", "v1", "Scale"),
    "binding": ("", "v1", "Binding"),
    "eviction": ("policy", "v1", "Eviction"),
}
SUBRESOURCE_VERBS: dict[str, tuple[str, ...]] = {
    "log": ("get",),
    "binding": ("create",),
    "eviction": ("create",),
    "proxy": ("create", "delete", "get", "patch", "update"),
    "finalize": ("update",),
}
STATUS_VERBS = ("get", "patch", "update")


def version_info(emulate: tuple[int, int]) -> Json:
    """`/version`."""
    major, minor = emulate
    return {"major": str(major), "minor": str(minor), "gitVersion": f"v{major}.{minor}.0+kaito-local",
            "gitCommit": "", "gitTreeState": "clean", "platform": "linux/amd64",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": ""}  # fmt: skip


def core_versions() -> Json:
    """`/api`."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def group_list(resources: Iterable[Resource]) -> Json:
    """`/apis`."""
    found = groups_of(resources)
    return {"kind": "APIGroupList", "apiVersion": "v1",
            "groups": [_group(name, found[name]) for name in found if name]}  # fmt: skip


def group(resources: Iterable[Resource], name: str) -> Json | None:
    """`/apis/GROUP`; None for a group that there is not."""
    versions = groups_of(resources).get(name)
    return {"kind": "APIGroup", "apiVersion": "v1"} | _group(name, versions) if name and versions else None


def groups_of(resources: Iterable[Resource]) -> dict[str, dict[str, list[Resource]]]:
    """Resources by group and version. A group's preferred version comes first: the most stable, then the newest."""
    found: dict[str, dict[str, list[Resource]]] = {}
    for resource in resources:
        found.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
    return {name: {version: found[name][version] for version in sorted(found[name], key=_priority)} for name in found}


def _priority(version: str) -> tuple[int, list[int]]:
    """v2 before v1 before v1beta2 before v1alpha1."""
    rank = 1 if "beta" in version else 2 if "alpha" in version else 0
    numbers = [int(part) for part in "".join(c if c.isdigit() else " " for c in version).split()]
    return rank, [-number for number in numbers]


def _group(name: str, versions: Iterable[str]) -> Json:
    found = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": found, "preferredVersion": found[0]}


def resource_list(resources: Iterable[Resource], group_: str, version: str) -> Json | None:
    """`/api/v1` or `/apis/GROUP/VERSION`; None for one that there is not."""
    listed = groups_of(resources).get(group_, {}).get(version)
    if not listed:
        return None
    rows: list[Json] = []
    for item in listed:
        row: Json = {"name": item.plural, "singularName": item.singular, "namespaced": item.namespaced,
                     "kind": item.kind, "verbs": list(item.verbs)}  # fmt: skip
        rows.append(row | _names(item))
        for name in sorted(item.subresources):
            of_group, of_version, kind = subresource_kind(item, name)
            row = {"name": f"{item.plural}/{name}", "singularName": "", "namespaced": item.namespaced, "kind": kind,
                   "verbs": list(SUBRESOURCE_VERBS.get(name, STATUS_VERBS))}  # fmt: skip
            is_foreign = (of_group, of_version) != (item.group, item.version)
            rows.append(row | ({"group": of_group, "version": of_version} if is_foreign else {}))
    group_version = f"{group_}/{version}" if group_ else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": rows}


def _names(item: Resource) -> Json:
    found: Json = {"shortNames": list(item.short_names)} if item.short_names else {}
    return found | ({"categories": list(item.categories)} if item.categories else {})


def subresource_kind(item: Resource, name: str) -> tuple[str, str, str]:
    """Group, version and kind of what a subresource is."""
    return SUBRESOURCE_KINDS.get(name, (item.group, item.version, item.kind))


def aggregated(resources: Iterable[Resource], *, is_core: bool, version: str) -> Json:
    """Everything of `/api` or of `/apis` in one answer. `version`: of the form itself, v2 or v2beta1."""
    items = [
        {
            "metadata": {"name": name, "creationTimestamp": None} if name else {"creationTimestamp": None},
            "versions": [
                {"version": of, "freshness": "Current", "resources": [_aggregated(item) for item in listed]}
                for of, listed in versions.items()
            ],
        }
        for name, versions in groups_of(resources).items()
        if is_core is not bool(name)
    ]
    return {"kind": AGGREGATED, "apiVersion": f"{DISCOVERY}/{version}", "metadata": {}, "items": items}


def _aggregated(item: Resource) -> Json:
    def kind(group_: str, version: str, name: str) -> Json:
        return {"group": group_, "version": version, "kind": name}

    found: Json = {
        "resource": item.plural,
        "responseKind": kind(item.group, item.version, item.kind),
        "scope": "Namespaced" if item.namespaced else "Cluster",
        "singularResource": item.singular,
        "verbs": list(item.verbs),
    }
    subresources = [
        {
            "subresource": name,
            "responseKind": kind(*subresource_kind(item, name)),
            "verbs": list(SUBRESOURCE_VERBS.get(name, STATUS_VERBS)),
        }
        for name in sorted(item.subresources)
    ]
    return found | _names(item) | ({"subresources": subresources} if subresources else {})

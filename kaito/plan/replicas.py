"""Replica: a Workspace seen from its InferenceSet, and the names of those to be made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kaito.api.meta import Json, ObjectRef
from kaito.api.names import replica_name
from kaito.api.workspace import WORKSPACE, InferenceSpec, ResourceSpec, Workspace
from kaito.plan.conditions import status_patch
from kaito.plan.ownership import is_controlled_by
from kaito.plan.roots import RootMeta, root_meta
from kaito.state.view import ClusterView, InvalidObject

CHAIN_MAX = 32
READY_CONDITION = "WorkspaceSucceeded"


@dataclass(frozen=True, slots=True)
class Replica:
    """`spec` is what the Workspace asks for now, empty where that cannot be read; `age_rank`: 0 is the oldest."""

    meta: RootMeta
    spec: Json
    age_rank: int

    @property
    def ref(self) -> ObjectRef:
        return self.meta.ref

    @property
    def uid(self) -> str:
        return self.meta.uid

    @property
    def resource_version(self) -> str:
        return self.meta.resource_version

    @property
    def is_leaving(self) -> bool:
        return self.meta.deleting_since is not None

    @property
    def is_ready(self) -> bool:
        """WorkspaceSucceeded of the very spec that it has now."""
        found = next((c for c in self.meta.status.get("conditions") or () if c["type"] == READY_CONDITION), None)
        is_true = found is not None and found.get("status") == "True"
        return is_true and (found or {}).get("observedGeneration") == self.meta.generation and not self.is_leaving

    @property
    def nodes(self) -> int:
        return int(self.meta.status.get("targetNodeCount") or 0)

    @property
    def words(self) -> tuple[str, str]:
        """What it waits for, and the next step."""
        blocker: Json = next(iter(self.meta.status.get("blockers") or ()), {})
        message = str(blocker.get("message") or "it has not been taken up yet")
        return message, str(
            blocker.get("nextStep") or f"kaito explain workspace/{self.ref.name} -n {self.ref.namespace}"
        )

    def tokens_per_minute(self, metric: str) -> float:
        found = ((self.meta.status.get("performance") or {}).get("metrics") or {}).get(metric) or {}
        try:
            return float(found.get("value") or 0)
        except ValueError:
            return 0.0

    def can_take(self, parts: Json) -> bool:
        """Whether a Workspace may be changed in this way: its model, machines and selector are for good."""
        return "resource" not in parts and "preset" not in (parts.get("inference") or {})


def replicas(view: ClusterView, root: RootMeta) -> tuple[Replica, ...]:
    """The InferenceSet's own replicas, in name order."""
    found = [each for each in view.replicas_of(root.ref) if _is_own(each, root)]
    metas = [root_meta(each) for each in found]
    ages = sorted((meta.created, meta.ref) for meta in metas)
    return tuple(
        Replica(meta, _spec(each), ages.index((meta.created, meta.ref)))
        for each, meta in zip(found, metas, strict=True)
    )


def outdated_parts(each: Replica, body: Json) -> Json:
    """The merge patch that makes the replica what the template says; empty when it is.

    Labels and annotations of the template are added or changed, never taken away: others put theirs there, too.
    """
    labels = {k: v for k, v in body["metadata"]["labels"].items() if each.meta.labels.get(k) != v}
    annotations = {k: v for k, v in body["metadata"]["annotations"].items() if each.meta.annotations.get(k) != v}
    metadata = {key: value for key, value in (("labels", labels), ("annotations", annotations)) if value}
    parts: Json = {"metadata": metadata} if metadata else {}
    wanted = _filled(ResourceSpec.model_validate(body["resource"]), InferenceSpec.model_validate(body["inference"]))
    for name, now in each.spec.items():
        if patch := status_patch(now, wanted[name]):
            parts[name] = patch
    return parts


def free_names(view: ClusterView, root: RootMeta, missing: int) -> Iterator[str]:
    """Names for so many new replicas: of the first slots that no live replica fills."""
    index = found = 0
    while found < missing:
        if name := _free_name(view, root, index):
            found += 1
            yield name
        index += 1


def _free_name(view: ClusterView, root: RootMeta, index: int) -> str:
    """The slot's next free name; empty where a live replica fills the slot."""
    replaces, salt = "", 0
    for _ in range(CHAIN_MAX):
        name = replica_name(root.ref.namespace, root.ref.name, index, replaces_uid=replaces, salt=salt)
        found = view.root(WORKSPACE.ref(root.ref.namespace, name))
        if found is None:
            return name
        if not _is_own(found, root):
            salt += 1
        elif root_meta(found).deleting_since:
            replaces, salt = root_meta(found).uid, 0
        else:
            return ""
    return ""


def _is_own(found: Workspace | InvalidObject, root: RootMeta) -> bool:
    if isinstance(found, Workspace):
        return is_controlled_by(found.metadata, root.uid)
    owners = (found.raw.get("metadata") or {}).get("ownerReferences") or ()
    return any(owner.get("controller") and owner.get("uid") == root.uid for owner in owners)


def _spec(found: Workspace | InvalidObject) -> Json:
    if isinstance(found, InvalidObject) or found.inference is None:
        return {}
    return _filled(found.resource, found.inference)


def _filled(resource: ResourceSpec, inference: InferenceSpec) -> Json:
    """Both with every default written out, so that what the server fills in makes no difference."""
    return {
        "resource": resource.model_dump(mode="json", by_alias=True, exclude_none=True),
        "inference": inference.model_dump(mode="json", by_alias=True, exclude_none=True),
    }

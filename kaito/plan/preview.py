"""preview: everything that a root would need in the end, as actions, gates aside; what `kaito plan` shows.

The operator's own plan creates the workload only when the machines are ready. A preview tells the whole way at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.ragengine import RAGENGINE, RAGEngine
from kaito.api.workloads import Child
from kaito.api.workspace import WORKSPACE, Workspace
from kaito.plan.actions import Action, Apply, Create, Delete, PatchRoot, Plan
from kaito.plan.children import reconcile_child
from kaito.plan.deletion import plan_deletion
from kaito.plan.diff import Change, diff
from kaito.plan.observed import snapshot_of
from kaito.plan.provision import provisioner_of
from kaito.plan.provision.order import MachineOrder
from kaito.plan.rag_needs import size_ragengine
from kaito.plan.ragengine import rag_children, rag_order
from kaito.plan.roots import RootMeta, root_meta
from kaito.plan.sizing import Sizing, size_workspace
from kaito.plan.snapshot import Snapshot, claim_ref, parse_time
from kaito.plan.verdict import Failed, Verdict, is_open
from kaito.plan.wanted import children, machine_order
from kaito.plan.work import RETRIEVAL_SERVICE
from kaito.plan.workspace import observe
from kaito.settings import PlanSettings
from kaito.state.view import ClusterView, InvalidObject

Move: TypeAlias = Create | Apply | PatchRoot | Delete
Children: TypeAlias = Iterable[tuple[ResourceKind, Json, Child | None]]
ROOT_KINDS = {kind.kind: kind for kind in (WORKSPACE, RAGENGINE)}


@dataclass(frozen=True, slots=True)
class Step:
    """One object: `action` is None where it is as it should be; `changes` are those of an Apply, field by field.

    `wanted`: the whole body that the object should have, empty where that is not decided here.
    """

    ref: ObjectRef
    action: Move | None
    changes: tuple[Change, ...] = ()
    wanted: Json | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """`sizing` is None for a root that does not fit its model, and for an InferenceSet; `errors` say what is wrong."""

    root: ObjectRef
    sizing: Sizing | None
    steps: tuple[Step, ...] = ()
    errors: tuple[str, ...] = ()
    blocked: Verdict | None = None  # why nothing more is known
    replicas: tuple[Preview, ...] = ()  # of an InferenceSet

    @property
    def all_steps(self) -> tuple[Step, ...]:
        """Its own, then those of its replicas."""
        return (*self.steps, *(step for each in self.replicas for step in each.all_steps))

    @property
    def has_changes(self) -> bool:
        return any(step.action is not None for step in self.all_steps)


def preview(view: ClusterView, ref: ObjectRef, now: datetime, settings: PlanSettings) -> Preview:
    """What would be created, changed and deleted for the Workspace or RAGEngine. Raises KeyError when the view does
    not hold it.
    """
    found = view.root(ref)
    if found is None:
        raise KeyError(str(ref))
    root = root_meta(found, ROOT_KINDS[ref.kind])
    if root.deleting_since:
        return leaving(root, plan_deletion(view, root, now))
    if isinstance(found, InvalidObject):
        return Preview(ref, None, errors=found.errors)
    if isinstance(found, RAGEngine):
        return _of_ragengine(view, root, found, now, settings)
    return _of_workspace(view, root, found, now, settings)


def leaving(root: RootMeta, plan: Plan) -> Preview:
    """A root that is being deleted (`plan` says what that takes) takes what is written now with it."""
    steps = tuple(Step(action.ref, action) for action in plan.actions if isinstance(action, Delete))
    waits = "; ".join(verdict.message for verdict in plan.verdicts)
    message = "it is being deleted, and what is written now goes with it" + (f": {waits}" if waits else "")
    step = "apply it again when it is gone"
    blocked = Failed("Released", "BeingDeleted", message, root.ref, step, parse_time(root.deleting_since))
    return Preview(root.ref, None, steps, blocked=blocked)


def _of_workspace(view: ClusterView, root: RootMeta, ws: Workspace, now: datetime, settings: PlanSettings) -> Preview:
    sizing = size_workspace(view, root, ws, settings)
    if not is_open(sizing.verdict):
        return Preview(root.ref, sizing, blocked=sizing.verdict)
    snapshot = observe(view, root.ref, now, settings)
    assert snapshot is not None, "a Workspace that fits its model has a snapshot"
    steps = (
        *_machines(snapshot, machine_order(root, sizing, settings)),
        *_children(root, children(snapshot, root, ws, sizing)),
    )
    return Preview(root.ref, sizing, steps)


def _of_ragengine(view: ClusterView, root: RootMeta, rag: RAGEngine, now: datetime, settings: PlanSettings) -> Preview:
    sizing = size_ragengine(view, root, rag, settings)
    if not is_open(sizing.verdict):
        return Preview(root.ref, sizing, blocked=sizing.verdict)
    snapshot = snapshot_of(view, root, sizing, RETRIEVAL_SERVICE, now, settings)
    machines = _machines(snapshot, rag_order(sizing, settings)) if sizing.has_machines else ()
    return Preview(root.ref, sizing, (*machines, *_children(root, rag_children(snapshot, root, rag, sizing))))


def _machines(s: Snapshot, order: MachineOrder) -> Iterator[Step]:
    provisioner = provisioner_of(s.view, s.ref, s.settings)
    actions: list[Action] = [*provisioner.relinquish(s), *provisioner.acquire(s, order)]
    yield from (Step(action.ref, action) for action in actions if isinstance(action, Create | Apply | Delete))
    going = {action.ref for action in actions if isinstance(action, Delete)}
    yield from (Step(claim_ref(claim), None) for claim in s.stock.counted if claim_ref(claim) not in going)


def _children(root: RootMeta, wanted: Children) -> Iterator[Step]:
    for kind, desired, observed in wanted:
        child = kind.ref(root.ref.namespace, desired["metadata"]["name"])
        action = reconcile_child(kind, desired, observed, root_uid=root.uid, reason="once the machines are ready")
        changes: tuple[Change, ...] = ()
        if isinstance(action, Apply) and observed is not None:
            changes = diff({"spec": desired["spec"]}, {"spec": observed.spec})
        yield Step(child, action, changes, desired)

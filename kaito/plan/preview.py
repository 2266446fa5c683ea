"""preview: everything that a Workspace would need in the end, as actions, gates aside; what `kaito plan` shows.

The operator's own plan creates the workload only when the machines are ready. A preview tells the whole way at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kaito.api.meta import ObjectRef
from kaito.plan.actions import Action, Apply, Create, Delete
from kaito.plan.children import reconcile_child
from kaito.plan.diff import Change, diff
from kaito.plan.provision import provisioner_of
from kaito.plan.roots import root_meta
from kaito.plan.sizing import Sizing, size_workspace
from kaito.plan.snapshot import claim_ref
from kaito.plan.verdict import Verdict, is_open
from kaito.plan.wanted import children, machine_order
from kaito.plan.workspace import observe
from kaito.settings import PlanSettings
from kaito.state.view import ClusterView, InvalidObject


@dataclass(frozen=True, slots=True)
class Step:
    """One object: `action` is None where it is as it should be; `changes` are those of an Apply, field by field."""

    ref: ObjectRef
    action: Create | Apply | Delete | None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """`sizing` is None for a Workspace that does not fit its model; `errors` then say what is wrong."""

    root: ObjectRef
    sizing: Sizing | None
    steps: tuple[Step, ...] = ()
    errors: tuple[str, ...] = ()
    blocked: Verdict | None = None  # why nothing more is known

    @property
    def has_changes(self) -> bool:
        return any(step.action is not None for step in self.steps)


def preview(view: ClusterView, ref: ObjectRef, now: datetime, settings: PlanSettings) -> Preview:
    """What would be created, changed and deleted for the Workspace. Raises KeyError when the view does not hold it."""
    found = view.root(ref)
    if found is None:
        raise KeyError(str(ref))
    if isinstance(found, InvalidObject):
        return Preview(ref, None, errors=found.errors)
    root = root_meta(found)
    sizing = size_workspace(view, root, found, settings)
    if not is_open(sizing.verdict):
        return Preview(ref, sizing, blocked=sizing.verdict)
    snapshot = observe(view, ref, now, settings)
    assert snapshot is not None, "a Workspace that fits its model has a snapshot"
    provisioner = provisioner_of(view, ref, settings)
    actions: list[Action] = [
        *provisioner.relinquish(snapshot),
        *provisioner.acquire(snapshot, machine_order(root, sizing, settings)),
    ]
    steps = [Step(action.ref, action) for action in actions if isinstance(action, Create | Apply | Delete)]
    steps += [Step(claim_ref(claim), None) for claim in snapshot.stock.counted]
    for kind, desired, observed in children(snapshot, root, found, sizing):
        child = kind.ref(ref.namespace, desired["metadata"]["name"])
        action = reconcile_child(kind, desired, observed, root_uid=root.uid, reason="once the machines are ready")
        changes: tuple[Change, ...] = ()
        if isinstance(action, Apply) and observed is not None:
            changes = diff({"spec": desired["spec"]}, {"spec": observed.spec})
        steps.append(Step(child, action, changes))
    return Preview(ref, sizing, tuple(steps))

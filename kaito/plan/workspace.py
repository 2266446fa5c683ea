"""plan_workspace: one Workspace and the world around it → everything that should happen now. Pure.

The order of a plan: Services and workload first, for they are what the user waits for, once the gates of the nodes are
open; then what cannot be watched is read, the status is written and its deepest cause told in an Event; claims go and
come last, because they cost money: the status, which is patched on the resourceVersion that was seen, proves that the
view of the Workspace is fresh, and names the wait should the claim be refused. A workload that exists is not torn down
when a gate closes again: a model server that still answers is worth more than a tidy picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from kaito.api.core import NODE, POD, SERVICE, STORAGE_CLASS
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.nodepool import NODE_POOL
from kaito.api.workloads import CONTROLLER_REVISION, JOB, POD_DISRUPTION_BUDGET, STATEFUL_SET
from kaito.api.workspace import WORKSPACE, Workspace
from kaito.plan.actions import Action, Emit, PatchRoot, Plan
from kaito.plan.benchmark import measurement
from kaito.plan.choice import after_refusal
from kaito.plan.deletion import plan_deletion
from kaito.plan.explain import EVENT_CHARS_MAX
from kaito.plan.gates import judge_all
from kaito.plan.lastwords import missing_logs
from kaito.plan.model import ask_model, ask_model_again_s
from kaito.plan.observed import snapshot_of
from kaito.plan.provision import provisioner_of
from kaito.plan.provision.expiry import refusal
from kaito.plan.provision.given_up import ask_why, note_claims
from kaito.plan.repairs import capped
from kaito.plan.report import GUARD_REASON, guard, leaving, misfit, recheck_s, report, unsynced
from kaito.plan.revisions import current_revision, record_revision, revision_marks
from kaito.plan.roots import RootMeta, root_meta
from kaito.plan.serving import measures_itself
from kaito.plan.sizing import Sizing, size_workspace
from kaito.plan.snapshot import Snapshot
from kaito.plan.status import CONDITION_OF_GATE, WORKLOAD_CONDITIONS, invalid_status, workspace_status
from kaito.plan.timeline import note_stages
from kaito.plan.training import ask_again_s, ask_progress
from kaito.plan.tuning_status import JOB_GATE, tuning_status
from kaito.plan.verdict import Verdict, Waiting, is_open
from kaito.plan.wanted import amiss, machine_order
from kaito.plan.work import MODEL_SERVER, TRAINING, Work
from kaito.settings import PlanSettings
from kaito.state.view import ClusterView, InvalidObject

READS: tuple[ResourceKind, ...] = (
    NODE_POOL,
    NODE_CLAIM,
    NODE,
    POD,
    STATEFUL_SET,
    JOB,
    SERVICE,
    POD_DISRUPTION_BUDGET,
    CONTROLLER_REVISION,
    STORAGE_CLASS,
)
SUCCESS = {"Ready": "the model server answers", "Succeeded": "the adapter is written"}


def plan_workspace(view: ClusterView, ref: ObjectRef, now: datetime, settings: PlanSettings) -> Plan:
    """What the Workspace needs now; empty when it has converged or is gone."""
    found = view.root(ref)
    if found is None:
        return Plan(ref)
    root = root_meta(found)
    if root.deleting_since:
        return plan_deletion(view, root, now)
    if wait := unsynced(view, ref, READS) or leaving(view, ref, (WORKSPACE,)):
        return Plan(ref, (), (wait,))
    if root.finalizer not in root.finalizers:
        # Alone in its plan: it changes the resourceVersion, and nothing may be created that it does not guard.
        marks = revision_marks(current_revision(view, root, found)) if isinstance(found, Workspace) else None
        return Plan(ref, (guard(root, marks),))
    if isinstance(found, InvalidObject):
        return _plan_invalid(root, found, now)
    return _plan_valid(view, root, found, now, settings)


def judge_workspace(view: ClusterView, ref: ObjectRef, now: datetime, settings: PlanSettings) -> tuple[Verdict, ...]:
    """The verdicts of `plan_workspace`, also for a Workspace that no operator has taken up yet."""
    plan = plan_workspace(view, ref, now, settings)
    snapshot = observe(view, ref, now, settings)
    is_new = any(isinstance(action, PatchRoot) and action.reason == GUARD_REASON for action in plan.actions)
    if snapshot is None or not is_new:
        return plan.verdicts
    message = "no operator has taken up this Workspace: it does not carry our finalizer"
    new = Waiting("Reconciled", "NotReconciled", message, ref, "run the operator: kaito operator", snapshot.now)
    return (new, *judge_all(snapshot))


def observe(view: ClusterView, ref: ObjectRef, now: datetime, settings: PlanSettings) -> Snapshot | None:
    """The snapshot that the gates judge; None for a Workspace that is gone or does not fit its model."""
    found = view.root(ref)
    if not isinstance(found, Workspace):
        return None
    root = root_meta(found)
    sizing = size_workspace(view, root, found, settings)
    return snapshot_of(view, root, sizing, _work_of(found), now, settings)


def _work_of(ws: Workspace) -> Work:
    return TRAINING if ws.tuning else MODEL_SERVER


def _plan_invalid(root: RootMeta, found: InvalidObject, now: datetime) -> Plan:
    """Whatever runs keeps running: an object that we cannot read says nothing about what should go."""
    verdict = misfit(root, found.errors)
    status = invalid_status(root.status, verdict, generation=root.generation, now=now)
    return Plan(root.ref, tuple(report(root, status, (verdict,), success=SUCCESS)), (verdict,))


def _plan_valid(view: ClusterView, root: RootMeta, ws: Workspace, now: datetime, settings: PlanSettings) -> Plan:
    sizing = size_workspace(view, root, ws, settings)
    s = snapshot_of(view, root, sizing, _work_of(ws), now, settings)
    provisioner = provisioner_of(view, root.ref, settings)
    if s.end is not None:
        # Machines may come and go as they like, and so may pods: what was to be done is done, or given up.
        over = tuple(verdict for verdict in judge_all(s) if verdict.gate == JOB_GATE)
        status = tuning_status(s, over, generation=root.generation)
        again = _place_workload(s, root, ws, sizing, over)
        return Plan(root.ref, (*again, *ask_progress(s), *report(root, status, over, success=SUCCESS)), over)
    verdicts = judge_all(s)
    measured = measurement(s, sizing, verdicts, is_wanted=ws.tuning is None and measures_itself(s, root, sizing))
    turn = _turn(s, root, ws)
    if ws.tuning is not None:
        status = tuning_status(s, verdicts, generation=root.generation) | turn
    else:
        status = workspace_status(s, verdicts, generation=root.generation, measured=measured) | turn
    released = tuple(provisioner.relinquish(s))
    machines = (*released, *provisioner.acquire(s, machine_order(root, sizing, settings)))
    told = (*report(root, status, verdicts, success=SUCCESS, may_wait=not machines), *_tell_turn(root, sizing, turn))
    actions = (
        *record_revision(view, root, ws, current_revision(view, root, ws)),
        *_place_workload(s, root, ws, sizing, verdicts),
        *missing_logs(s),
        *((measured.read,) if measured.read else ()),
        *ask_progress(s),
        *ask_model(view, root, ws, settings, now),
        *ask_why(s),
        *note_stages(s, verdicts, told),
        *told,
        *note_claims(s, released),
        *machines,
    )
    others = (measured.recheck_s, ask_again_s(s), ask_model_again_s(view, root, ws, settings, now))
    return Plan(root.ref, actions, verdicts, recheck_s(s, verdicts, *others))


def _place_workload(
    s: Snapshot, root: RootMeta, ws: Workspace, sizing: Sizing, verdicts: Sequence[Verdict]
) -> Iterator[Action]:
    """Services first: pods find their leader through them. What exists is kept right even while a gate is closed."""
    if not is_open(sizing.verdict):
        return
    node_side = [verdict for verdict in verdicts if CONDITION_OF_GATE[verdict.gate] not in WORKLOAD_CONDITIONS]
    if s.workload is None and not all(is_open(verdict) for verdict in node_side):
        return
    for action, observed in amiss(s, root, ws, sizing):
        yield from capped(s, action, observed)


def _turn(s: Snapshot, root: RootMeta, ws: Workspace) -> Json:
    """What the status says from now on of the instance type, where the cloud has refused the one in use."""
    refused = refusal(s)
    return after_refusal(root, ws, refused, s.now, memory_s=s.settings.refusal_memory_s) if refused else {}


def _tell_turn(root: RootMeta, sizing: Sizing, turn: Json) -> Iterator[Action]:
    if turn:
        words = next(e["message"] for e in turn["refusedInstanceTypes"] if e["instanceType"] == sizing.instance_type)
        message = f"no {sizing.instance_type} to be had, now asking for {turn['instanceType']}: {words}"
        yield Emit(root.ref, root.uid, "Warning", "InstanceTypeFallback", message[:EVENT_CHARS_MAX])

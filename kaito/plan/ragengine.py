"""plan_ragengine: one RAGEngine and the world around it → everything that should happen now. Pure.

Its machine comes through the same provisioners, and its readiness through the same gates, as a Workspace's: what
differs is the demand (one node at most, none without `compute`), the workload, and the names of its conditions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from kaito.api.core import NODE, POD, SERVICE
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.names import ENABLE_LOAD_BALANCER_ANNOTATION
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.nodepool import NODE_POOL
from kaito.api.ragengine import RAGENGINE, RAGEngine
from kaito.api.workloads import DEPLOYMENT, Child
from kaito.plan.actions import Action, PatchRoot, Plan
from kaito.plan.born import as_born, is_upgrade_asked
from kaito.plan.children import reconcile_child
from kaito.plan.deletion import plan_deletion
from kaito.plan.desired.rag_workload import rag_deployment, rag_service
from kaito.plan.gates import judge_all
from kaito.plan.lastwords import missing_logs
from kaito.plan.observed import snapshot_of
from kaito.plan.ownership import controller_reference
from kaito.plan.pods.proxy import behind_proxy
from kaito.plan.provision import provisioner_of
from kaito.plan.provision.given_up import ask_why, note_claims
from kaito.plan.provision.order import MachineOrder
from kaito.plan.rag_needs import retrieval_of, size_ragengine
from kaito.plan.rag_status import invalid_status, is_machine_side, ragengine_status
from kaito.plan.report import GUARD_REASON, guard, leaving, misfit, recheck_s, report, unsynced
from kaito.plan.roots import RootMeta, root_meta
from kaito.plan.sizing import Sizing
from kaito.plan.snapshot import Snapshot
from kaito.plan.timeline import note_stages
from kaito.plan.verdict import Verdict, Waiting, is_open
from kaito.plan.work import RETRIEVAL_SERVICE
from kaito.settings import PlanSettings
from kaito.state.view import ClusterView, InvalidObject

READS: tuple[ResourceKind, ...] = (NODE_POOL, NODE_CLAIM, NODE, POD, DEPLOYMENT, SERVICE)
SUCCESS = {"Ready": "the retrieval service answers"}


def plan_ragengine(view: ClusterView, ref: ObjectRef, now: datetime, settings: PlanSettings) -> Plan:
    """What the RAGEngine needs now; empty when it has converged or is gone."""
    found = view.root(ref)
    if found is None:
        return Plan(ref)
    root = root_meta(found, RAGENGINE)
    if root.deleting_since:
        return plan_deletion(view, root, now)
    if wait := unsynced(view, ref, READS) or leaving(view, ref, (RAGENGINE,)):
        return Plan(ref, (), (wait,))
    if root.finalizer not in root.finalizers:
        return Plan(ref, (guard(root),))
    if isinstance(found, InvalidObject):
        verdict = misfit(root, found.errors)
        status = invalid_status(root.status, verdict, generation=root.generation, now=now)
        return Plan(ref, tuple(report(root, status, (verdict,), success=SUCCESS)), (verdict,))
    return _plan_valid(view, root, found, now, settings)


def judge_ragengine(view: ClusterView, ref: ObjectRef, now: datetime, settings: PlanSettings) -> tuple[Verdict, ...]:
    """The verdicts of `plan_ragengine`, also for a RAGEngine that no operator has taken up yet."""
    plan, found = plan_ragengine(view, ref, now, settings), view.root(ref)
    is_new = any(isinstance(action, PatchRoot) and action.reason == GUARD_REASON for action in plan.actions)
    if not isinstance(found, RAGEngine) or not is_new:
        return plan.verdicts
    root = root_meta(found, RAGENGINE)
    s = snapshot_of(view, root, size_ragengine(view, root, found, settings), RETRIEVAL_SERVICE, now, settings)
    message = "no operator has taken up this RAGEngine: it does not carry our finalizer"
    new = Waiting("Reconciled", "NotReconciled", message, ref, "run the operator: kaito operator", now)
    return (new, *_judge(s))


def rag_order(sizing: Sizing, settings: PlanSettings) -> MachineOrder:
    """What to ask the provisioner for."""
    return MachineOrder(
        sizing.instance_type,
        sizing.match_labels,
        image_family=settings.node_image_family,
        storage_gib=sizing.storage_gib,
    )


def rag_children(
    s: Snapshot, root: RootMeta, rag: RAGEngine, sizing: Sizing
) -> Iterator[tuple[ResourceKind, Json, Child | None]]:
    """Each child that the RAGEngine should have, and what there is of it, in the order in which they are created."""
    owner = controller_reference(root.kind, root.ref.name, root.uid)
    is_load_balancer = root.annotations.get(ENABLE_LOAD_BALANCER_ANNOTATION) == "True"
    service = rag_service(root.ref, owner, is_load_balancer=is_load_balancer)
    yield SERVICE, service, s.view.service(root.ref.namespace, root.ref.name)
    retrieval = retrieval_of(s, root, rag, sizing)
    made = rag_deployment(
        root.ref,
        owner,
        retrieval,
        cloud_provider=s.settings.cloud_provider,
        capabilities=s.view.capabilities,
    )
    asked = {
        "spec": rag.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "pins": dict(retrieval.pins),
        "gpus": retrieval.gpus,
    }
    is_asked = is_upgrade_asked(root, s.settings.rag_image)
    deployment = behind_proxy(made, s.settings.proxy)
    yield DEPLOYMENT, as_born(deployment, s.workload, inputs=asked, is_upgrade_asked=is_asked), s.workload


def _plan_valid(view: ClusterView, root: RootMeta, rag: RAGEngine, now: datetime, settings: PlanSettings) -> Plan:
    sizing = size_ragengine(view, root, rag, settings)
    s = snapshot_of(view, root, sizing, RETRIEVAL_SERVICE, now, settings)
    verdicts = _judge(s)
    status = ragengine_status(s, verdicts, has_machine=sizing.has_machines, generation=root.generation)
    provisioner = provisioner_of(view, root.ref, settings)
    released = tuple(provisioner.relinquish(s)) if sizing.has_machines else ()
    is_needed = sizing.has_machines and is_open(sizing.verdict)
    asked_for = tuple(provisioner.acquire(s, rag_order(sizing, settings))) if is_needed else ()
    told = tuple(report(root, status, verdicts, success=SUCCESS, may_wait=not (released or asked_for)))
    actions = (
        *_place_workload(s, root, rag, sizing, verdicts),
        *missing_logs(s),
        *ask_why(s),
        *note_stages(s, verdicts, told),
        *told,
        *note_claims(s, released),
        *released,
        *asked_for,
    )
    return Plan(root.ref, actions, verdicts, recheck_s(s, verdicts))


def _judge(s: Snapshot) -> tuple[Verdict, ...]:
    """Without a machine of its own, the gates of machines do not concern it."""
    return tuple(v for v in judge_all(s) if s.target != 0 or not is_machine_side(v))


def _place_workload(
    s: Snapshot, root: RootMeta, rag: RAGEngine, sizing: Sizing, verdicts: Sequence[Verdict]
) -> Iterator[Action]:
    """What exists is kept right even while a gate is closed: a service that still answers is not torn down."""
    if not is_open(sizing.verdict):
        return
    if s.workload is None and not all(is_open(verdict) for verdict in verdicts if is_machine_side(verdict)):
        return
    for kind, desired, observed in rag_children(s, root, rag, sizing):
        if action := reconcile_child(kind, desired, observed, root_uid=root.uid, reason="the service may start"):
            yield action

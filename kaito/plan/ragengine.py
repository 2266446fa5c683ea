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
from kaito.plan.children import reconcile_child
from kaito.plan.deletion import plan_deletion
from kaito.plan.desired.rag_workload import rag_deployment, rag_service
from kaito.plan.gates import judge_all
from kaito.plan.lastwords import missing_logs
from kaito.plan.ownership import controller_reference
from kaito.plan.provision import provisioner_of
from kaito.plan.provision.order import MachineOrder
from kaito.plan.rag_needs import Needs, needs_of, retrieval_of
from kaito.plan.rag_status import invalid_status, is_machine_side, ragengine_status
from kaito.plan.report import GUARD_REASON, guard, misfit, recheck_s, report, unsynced
from kaito.plan.roots import RootMeta, root_meta
from kaito.plan.snapshot import Snapshot
from kaito.plan.stock import Demand, Stock
from kaito.plan.verdict import Verdict, Waiting, is_open
from kaito.settings import PlanSettings
from kaito.state.view import ClusterView, InvalidObject

READS: tuple[ResourceKind, ...] = (NODE_POOL, NODE_CLAIM, NODE, POD, DEPLOYMENT, SERVICE)
SUCCESS = {"Ready": "the retrieval service answers"}
STORAGE_GIB = 50  # the image, an embedding model and a cache


def plan_ragengine(view: ClusterView, ref: ObjectRef, now: datetime, settings: PlanSettings) -> Plan:
    """What the RAGEngine needs now; empty when it has converged or is gone."""
    found = view.root(ref)
    if found is None:
        return Plan(ref)
    root = root_meta(found, RAGENGINE)
    if root.deleting_since:
        return plan_deletion(view, root, now)
    if wait := unsynced(view, ref, READS):
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
    needs = needs_of(view, root, found, settings)
    message = "no operator has taken up this RAGEngine: it does not carry our finalizer"
    new = Waiting("Reconciled", "NotReconciled", message, ref, "run the operator: kaito operator", now)
    return (new, *_judge(_snapshot(view, root, needs, now, settings), needs))


def _plan_valid(view: ClusterView, root: RootMeta, rag: RAGEngine, now: datetime, settings: PlanSettings) -> Plan:
    needs = needs_of(view, root, rag, settings)
    s = _snapshot(view, root, needs, now, settings)
    verdicts = _judge(s, needs)
    status = ragengine_status(s, verdicts, has_machine=needs.has_machine, generation=root.generation)
    provisioner = provisioner_of(view, root.ref, settings)
    order = MachineOrder(
        needs.instance_type, needs.match_labels, image_family=settings.node_image_family, storage_gib=STORAGE_GIB
    )
    released = provisioner.relinquish(s) if needs.has_machine else ()
    asked_for = provisioner.acquire(s, order) if needs.has_machine and is_open(needs.verdict) else ()
    actions = (
        *_place_workload(s, root, rag, needs, verdicts),
        *missing_logs(s),
        *report(root, status, verdicts, success=SUCCESS),
        *released,
        *asked_for,
    )
    return Plan(root.ref, actions, verdicts, recheck_s(s, verdicts))


def _judge(s: Snapshot, needs: Needs) -> tuple[Verdict, ...]:
    """Without a machine of its own, the gates of machines do not concern it."""
    return tuple(v for v in judge_all(s) if needs.has_machine or not is_machine_side(v))


def _snapshot(view: ClusterView, root: RootMeta, needs: Needs, now: datetime, settings: PlanSettings) -> Snapshot:
    demand = Demand(root.claimant, needs.nodes, needs.match_labels, needs.preferred, needs.gpu_resource, needs.gpus)
    stock = (
        provisioner_of(view, root.ref, settings).take_stock(view, demand, settings) if needs.has_machine else Stock()
    )
    return Snapshot(
        view,
        root.ref,
        root.uid,
        now,
        settings,
        root.created,
        instance_type=needs.instance_type,
        match_labels=needs.match_labels,
        planned=needs.verdict,
        target=needs.nodes,
        gpu_resource=needs.gpu_resource,
        gpus_per_pod=needs.gpus,
        stock=stock,
        workload_kind=DEPLOYMENT,
        workload=view.deployment(root.ref),
        pods=view.pods_of(root.ref),
        prior=root.status,
    )


def _place_workload(
    s: Snapshot, root: RootMeta, rag: RAGEngine, needs: Needs, verdicts: Sequence[Verdict]
) -> Iterator[Action]:
    """What exists is kept right even while a gate is closed: a service that still answers is not torn down."""
    if not is_open(needs.verdict):
        return
    if s.workload is None and not all(is_open(verdict) for verdict in verdicts if is_machine_side(verdict)):
        return
    owner = controller_reference(root.kind, root.ref.name, root.uid)
    is_load_balancer = root.annotations.get(ENABLE_LOAD_BALANCER_ANNOTATION) == "True"
    service = rag_service(root.ref, owner, is_load_balancer=is_load_balancer)
    deployment = rag_deployment(
        root.ref,
        owner,
        retrieval_of(s, root, rag, needs),
        cloud_provider=s.settings.cloud_provider,
        capabilities=s.view.capabilities,
    )
    wanted: tuple[tuple[ResourceKind, Json, Child | None], ...] = (
        (SERVICE, service, s.view.service(root.ref.namespace, root.ref.name)),
        (DEPLOYMENT, deployment, s.workload),
    )
    for kind, desired, observed in wanted:
        if action := reconcile_child(kind, desired, observed, root_uid=root.uid, reason="the service may start"):
            yield action

"""snapshot_of: a root's sizing and the world around it → the snapshot that its gates judge; the same for every root."""

from __future__ import annotations

from datetime import datetime

from kaito.plan.provision import provisioner_of
from kaito.plan.roots import RootMeta
from kaito.plan.sizing import Sizing
from kaito.plan.snapshot import Snapshot
from kaito.plan.stock import Demand, Stock
from kaito.plan.work import Work
from kaito.settings import PlanSettings
from kaito.state.view import ClusterView


def snapshot_of(
    view: ClusterView,
    root: RootMeta,
    sizing: Sizing,
    work: Work,
    now: datetime,
    settings: PlanSettings,
) -> Snapshot:
    """What gates and planner read about the root and what it runs."""
    return Snapshot(
        view,
        root.ref,
        root.uid,
        now,
        settings,
        root.created,
        instance_type=sizing.instance_type,
        match_labels=sizing.match_labels,
        planned=sizing.verdict,
        target=sizing.nodes,
        context_tokens=sizing.context_tokens,
        hub_model=sizing.hub_model,
        broken=tuple(f"{each} [{each.rule}]" for each in sizing.broken),
        gpu_resource=sizing.gpu_resource,
        gpus_per_pod=sizing.gpus_per_pod,
        stock=_stock(view, root, sizing, settings),
        work=work,
        workload=work.look_up(view, root.ref),
        pods=view.pods_of(root.ref),
        prior=root.status,
    )


def _stock(view: ClusterView, root: RootMeta, sizing: Sizing, settings: PlanSettings) -> Stock:
    if not sizing.has_machines:
        return Stock()
    demand = Demand(
        root.claimant,
        sizing.nodes,
        sizing.match_labels,
        sizing.preferred,
        sizing.gpu_resource,
        sizing.gpus_per_pod,
    )
    return provisioner_of(view, root.ref, settings).take_stock(view, demand, settings)

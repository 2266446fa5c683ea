"""Snapshot: everything that gates and planner read about one root, asked of the view once per plan.

It includes the status as last written: "since when" of what the cluster does not time itself (a device plugin that
zeroed its GPUs) is remembered there, in `status.blockers[]`, so that status stays a pure function of the snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from kaito.api.core import NODE, POD, ContainerStatus, Node, Pod
from kaito.api.meta import Condition, Json, ObjectRef, condition
from kaito.api.nodeclaim import NODE_CLAIM, NodeClaim
from kaito.api.workloads import Child
from kaito.clock import parse_rfc3339
from kaito.plan.ownership import is_child
from kaito.plan.placement import GPU_RESOURCE
from kaito.plan.stock import Stock
from kaito.plan.verdict import EARLIER_STAGE, EARLIER_STAGE_STEP, Verdict, Waiting
from kaito.plan.work import MODEL_SERVER, Work
from kaito.settings import PlanSettings
from kaito.state.view import ClusterView

LOG_KEY_PREFIX = "log"
# What provisioners say while nothing is wrong: a gate's own words tell a user more.
UNINFORMATIVE = frozenset({"", "AwaitingReconciliation", "LaunchInProgress", "NodeNotFound", "Pending"})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`target` is the number of nodes, None while it is unknown; `gpus_per_pod` is what each pod will request."""

    view: ClusterView
    ref: ObjectRef
    uid: str
    now: datetime
    settings: PlanSettings
    created: str = ""  # the root's creationTimestamp
    instance_type: str = ""
    match_labels: dict[str, str] = field(default_factory=dict)
    planned: Verdict | None = None  # the node count with its reasoning, or why there is none
    target: int | None = None
    context_tokens: int | None = None  # that the target was computed for
    hub_model: Json | None = None  # `status.model`, where the hub told of the model
    broken: tuple[str, ...] = ()  # rules that the root would not pass today
    gpu_resource: str = GPU_RESOURCE
    gpus_per_pod: int = 0
    stock: Stock = field(default_factory=Stock)
    work: Work = MODEL_SERVER
    workload: Child | None = None  # what there is of it
    pods: tuple[Pod, ...] = ()
    prior: Json = field(default_factory=dict)  # .status as last written

    @property
    def is_byo(self) -> bool:
        return self.settings.node_provisioner == "byo"

    @property
    def awaits_machines(self) -> bool:
        """Whether machines are asked for at all; while the target is not known, they are expected to be."""
        return not self.is_byo and (self.target is None or self.stock.needed > 0)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that count for the root."""
        return self.stock.nodes

    @property
    def workload_ref(self) -> ObjectRef:
        """The workload has its root's name."""
        return self.work.kind.ref(self.ref.namespace, self.ref.name)

    @property
    def end(self) -> Condition | None:
        """With what the root's workload has ended, Complete or Failed; None while it has not, or never will."""
        found = self.workload
        return self.work.end(self.view, self.ref) if found and is_child(found.metadata, self.uid) else None

    @property
    def needed(self) -> int:
        """Nodes, or pods, that must pass a gate: at least one, so that nothing passes while the target is unknown."""
        return max(1, self.target or 0)

    def remembered(self, gate: str, culprit: ObjectRef) -> datetime | None:
        """Since when this object has kept this gate closed, as far as the status remembers."""
        for blocker in self.prior.get("blockers") or ():
            if (blocker.get("gate"), blocker.get("culprit")) == (gate, str(culprit)):
                return parse_time(blocker.get("since"))
        return None

    def first_seen(self, gate: str, culprit: ObjectRef) -> datetime:
        """Since when this object has kept this gate closed; now, where the status does not remember."""
        return self.remembered(gate, culprit) or self.now

    def passed_at(self, gate: str) -> datetime | None:
        """When this gate opened, as far as the status remembers."""
        stages = self.prior.get("timeline") or ()
        return next((parse_time(stage.get("at")) for stage in stages if stage.get("stage") == gate), None)

    def left_s(self, since: datetime, tolerance_s: float) -> float:
        """Seconds until `tolerance_s` has passed since then; 0 or less when it has."""
        return (since + timedelta(seconds=tolerance_s) - self.now).total_seconds()

    def created_at(self, claim: NodeClaim) -> datetime:
        """When the claim was created. The server always says; otherwise it is as old as the status remembers."""
        return parse_time(claim.metadata.creation_timestamp) or self.first_seen("ClaimCreated", claim_ref(claim))

    def hosts_ready_pod(self, node: Node) -> bool:
        """Whether a ready pod of ours runs on the node: what keeps new pods away does not concern it."""
        return any(pod.spec.node_name == node.metadata.name and is_pod_ready(pod) for pod in self.pods)

    def later(self, gate: str, message: str) -> Waiting:
        """The verdict of a gate whose subject does not exist yet: an earlier gate says why."""
        return Waiting(gate, EARLIER_STAGE, message, self.ref, EARLIER_STAGE_STEP, is_symptom=True)


def claim_ref(claim: NodeClaim) -> ObjectRef:
    return NODE_CLAIM.ref("", claim.metadata.name)


def node_ref(node: Node) -> ObjectRef:
    return NODE.ref("", node.metadata.name)


def pod_ref(pod: Pod) -> ObjectRef:
    return POD.ref(pod.metadata.namespace, pod.metadata.name)


def log_key(pod: Pod, container: ContainerStatus) -> str:
    """The key of the `Read` of a crashed container's last words: one per crash."""
    return f"{LOG_KEY_PREFIX}/{pod.metadata.uid}/{container.name}/{container.restart_count}"


def parse_time(text: str | None) -> datetime | None:
    """The moment, or None where the field is absent or no time (foreign objects are not trusted to be well formed)."""
    if not text:
        return None
    try:
        return parse_rfc3339(text)
    except ValueError:
        return None


def latest(moments: Sequence[datetime | None]) -> datetime | None:
    known = [moment for moment in moments if moment]
    return max(known) if known else None


def is_true(conditions: tuple[Condition, ...], type_: str) -> bool:
    found = condition(conditions, type_)
    return found is not None and found.status == "True"


def transition_time(conditions: tuple[Condition, ...], type_: str) -> datetime | None:
    found = condition(conditions, type_)
    return parse_time(found.last_transition_time) if found else None


def own_words(found: Condition | None) -> tuple[str, str]:
    """Reason and message of a NodeClaim's condition that is not true; ("", "") where they only say that it is not.

    Karpenter writes the same words on every condition that nothing has gone wrong with.
    """
    if found is None or found.reason in UNINFORMATIVE or found.reason == found.type:
        return "", ""
    return found.reason, found.message or found.reason


def is_node_ready(node: Node) -> bool:
    return not node.metadata.deletion_timestamp and is_true(node.status.conditions, "Ready")


def node_of(s: Snapshot, pod: Pod) -> Node | None:
    """The node that the pod is bound to, where it is one of the root's."""
    return next((node for node in s.nodes if node.metadata.name == pod.spec.node_name), None)


def has_crashed(status: ContainerStatus) -> bool:
    """Whether the container's last run ended badly."""
    ended = status.state.terminated or status.last_state.terminated
    return ended is not None and ended.exit_code != 0


def is_pod_ready(pod: Pod) -> bool:
    return not pod.metadata.deletion_timestamp and is_true(pod.status.conditions, "Ready")

"""The PodDisruptionBudget of a workload: a drain takes its pods one at a time, so it never takes a whole group down."""

from __future__ import annotations

from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.names import LABEL_WORKSPACE
from kaito.api.workloads import POD_DISRUPTION_BUDGET, POD_DISRUPTION_BUDGET_BETA
from kaito.plan.ownership import child_head
from kaito.state.view import ServerCapabilities


def budget_kind(capabilities: ServerCapabilities) -> ResourceKind:
    """As the server serves it."""
    return POD_DISRUPTION_BUDGET if capabilities.at_least(21) else POD_DISRUPTION_BUDGET_BETA


def disruption_budget(root: ObjectRef, owner: Json, *, kind: ResourceKind) -> Json:
    """`kind` is policy/v1 or, before Kubernetes 1.21, policy/v1beta1: the body is the same.

    It never forbids a drain altogether: a node that cannot be drained cannot be upgraded either.
    """
    labels = {LABEL_WORKSPACE: root.name}
    return child_head(kind, root, owner, labels) | {
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels}},
    }

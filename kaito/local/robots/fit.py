"""Why a pod does not fit on a node, in the scheduler's own words. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kaito.api.meta import Json
from kaito.local.robots.resources import free_on, requests_of

UNSCHEDULABLE: Json = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def misfits(pod: Json, node: Json, pods_there: Sequence[Json], *, minor: int) -> list[str]:
    """Everything that keeps the pod off the node; empty when it fits. The first filter that fails ends the search."""
    if node["spec"].get("unschedulable") and not _tolerates(pod, UNSCHEDULABLE):
        return ["node(s) were unschedulable"]
    if not _matches_affinity(pod, node):
        return ["node(s) didn't match Pod's node affinity" + ("/selector" if minor >= 22 else "")]
    for taint in node["spec"].get("taints") or []:
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not _tolerates(pod, taint):
            return [_taint_words(taint, minor)]
    wanted, free = requests_of(pod), free_on(node, pods_there)
    lacking = sorted(resource for resource, amount in wanted.items() if amount > free.get(resource, 0))
    return ["Too many pods" if resource == "pods" else f"Insufficient {resource}" for resource in lacking]


def _taint_words(taint: Json, minor: int) -> str:
    words = f"{{{taint['key']}: {taint.get('value', '')}}}"
    if minor >= 24:
        return f"node(s) had untolerated taint {words}"
    return f"node(s) had taint {words}, that the pod didn't tolerate"


def _tolerates(pod: Json, taint: Json) -> bool:
    return any(_tolerates_one(toleration, taint) for toleration in pod["spec"].get("tolerations") or [])


def _tolerates_one(toleration: Json, taint: Json) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def _matches_affinity(pod: Json, node: Json) -> bool:
    labels = node["metadata"].get("labels") or {}
    for key, value in (pod["spec"].get("nodeSelector") or {}).items():
        if labels.get(key) != value:
            return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(_matches_term(term, node) for term in required.get("nodeSelectorTerms") or [])


def _matches_term(term: Json, node: Json) -> bool:
    """An empty term matches nothing."""
    labels = node["metadata"].get("labels") or {}
    fields = {"metadata.name": node["metadata"]["name"]}
    expressions, on_fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not on_fields:
        return False
    return all(_holds(e, labels) for e in expressions) and all(_holds(e, fields) for e in on_fields)


def _holds(expression: Json, labels: dict[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return _compare(value, values) > 0
        case "Lt":
            return _compare(value, values) < 0
    return False


def _compare(value: str | None, values: Sequence[str]) -> int:
    """Sign of value - values[0]; 0, which satisfies neither Gt nor Lt, where either is not an integer."""
    try:
        left, right = int(value or ""), int(values[0])
    except (ValueError, IndexError):
        return 0
    return (left > right) - (left < right)


def unschedulable_words(nodes: int, reasons: Sequence[str], *, minor: int) -> str:
    """`0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) …`: one count per reason, sorted."""
    if nodes == 0:
        return "no nodes available to schedule pods"
    counted = sorted(f"{count} {reason}" for reason, count in Counter(reasons).items())
    words = f"0/{nodes} nodes are available: {', '.join(counted)}."
    if minor < 24:
        return words
    preempt = "Preemption is not helpful for scheduling"
    return f"{words} preemption: 0/{nodes} nodes are available: {nodes} {preempt}."

"""Resource arithmetic of the scheduler, of whatever unit in whole thousandths: requests, and what a node has left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from kaito.api.meta import Json
from kaito.api.quantity import to_millicores


def requests_of(pod: Json) -> Counter[str]:
    """What a pod asks of its node, in thousandths: its containers' sum, or an init container's where that is more."""
    spec, total = pod["spec"], Counter[str]()
    for container in spec.get("containers") or []:
        total.update(_requests(container))
    for container in spec.get("initContainers") or []:
        for resource, amount in _requests(container).items():
            total[resource] = max(total[resource], amount)
    total["pods"] = 1000
    return total


def _requests(container: Json) -> Counter[str]:
    resources = container.get("resources") or {}
    wanted = (resources.get("limits") or {}) | (resources.get("requests") or {})
    return Counter({resource: to_millicores(quantity) for resource, quantity in wanted.items()})


def free_on(node: Json, pods: Iterable[Json]) -> Counter[str]:
    """What the node's pods leave of its allocatable, in thousandths. Pods that have ended hold nothing."""
    free = Counter({name: to_millicores(value) for name, value in (node["status"].get("allocatable") or {}).items()})
    for pod in pods:
        if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            free.subtract(requests_of(pod))
    return free

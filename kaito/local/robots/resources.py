"""Resource arithmetic of the scheduler: quantities as whole thousandths, requests of pods, what a node has left."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from math import ceil

from kaito.api.meta import Json

SUFFIXES = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
    "Ei": Decimal(2) ** 60,
}
QUANTITY = re.compile(r"([+-]?[0-9]{1,30}(?:\.[0-9]{0,30})?(?:[eE][+-]?[0-9]{1,2})?)(|[mkMGTPE]|[KMGTPE]i)")


def thousandths(quantity: object) -> int:
    """A quantity in thousandths of its unit, rounded up. Raises ValueError for what is not a quantity."""
    found = QUANTITY.fullmatch(str(quantity))
    if found is None:
        raise ValueError(f"not a quantity: {quantity!r}")
    return ceil(Decimal(found[1]) * SUFFIXES[found[2]] * 1000)


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
    return Counter({resource: thousandths(quantity) for resource, quantity in wanted.items()})


def free_on(node: Json, pods: Iterable[Json]) -> Counter[str]:
    """What the node's pods leave of its allocatable, in thousandths. Pods that have ended hold nothing."""
    free = Counter({name: thousandths(value) for name, value in (node["status"].get("allocatable") or {}).items()})
    for pod in pods:
        if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            free.subtract(requests_of(pod))
    return free

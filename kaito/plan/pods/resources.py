"""What a server's container asks of its node beside devices."""

from __future__ import annotations

import json

from kaito.api.meta import Json
from kaito.api.quantity import parse_quantity

CPU_CORES, CPU_CORES_PER_DEVICE = 1, 1
MEMORY_GIB, MEMORY_GIB_PER_DEVICE = 2, 2


def server_resources(device: str, count: int, asked: Json) -> Json:
    """Requests and limits. `asked` is what the user says (`asked_resources`); the devices are ours.

    By default a modest request, so that the scheduler and the node know that there is something, and no limit: weights
    pass through the page cache and the KV cache may be offloaded to as much host memory as is free.
    """
    devices = {device: str(count)} if count else {}
    default = {
        "cpu": str(CPU_CORES + CPU_CORES_PER_DEVICE * count),
        "memory": f"{MEMORY_GIB + MEMORY_GIB_PER_DEVICE * count}Gi",
    }
    limits = dict(asked.get("limits") or {})
    # A limit below the default request would be refused: what is limited to less is requested as that.
    requests = default | limits | dict(asked.get("requests") or {})
    return {"requests": requests | devices, "limits": limits | devices}


def asked_resources(text: str) -> Json:
    """The annotation's JSON, `{"requests": {"cpu": "8"}, "limits": {"memory": "64Gi"}}`. Raises ValueError.

    Devices are refused: their number follows from the model and the node.
    """
    if not text:
        return {}
    try:
        asked = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{text!r} is not JSON: {error}") from error
    if not isinstance(asked, dict) or set(asked) - {"requests", "limits"}:
        raise ValueError(f"{text!r}: expected an object with the keys requests and limits")
    for kind, amounts in asked.items():
        if not isinstance(amounts, dict):
            raise ValueError(f"{kind}: expected quantities by resource, got {amounts!r}")
        for resource, amount in amounts.items():
            if resource not in ("cpu", "memory", "ephemeral-storage"):
                raise ValueError(f"{kind}.{resource}: only cpu, memory and ephemeral-storage may be set")
            parse_quantity(amount)
    return asked

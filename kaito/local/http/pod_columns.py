"""What `kubectl get pods` shows of a pod: how many containers are ready, and one word for its state. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from kaito.api.meta import Json
from kaito.local.http.durations import since

NONE = "<none>"


def pod_cells(pod: Json, now: datetime) -> list[Any]:
    """Ready, Status, Restarts, Age, IP, Node, Nominated Node, Readiness Gates."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    statuses = status.get("containerStatuses") or []
    sidecars = {item["name"] for item in spec.get("initContainers") or () if item.get("restartPolicy") == "Always"}
    inits = status.get("initContainerStatuses") or []
    counted = [*statuses, *(item for item in inits if item["name"] in sidecars)]
    ready = sum(bool(item.get("ready")) for item in counted)
    gates = spec.get("readinessGates") or ()
    conditions = {item["type"]: item.get("status") for item in status.get("conditions") or ()}
    passed = sum(conditions.get(gate["conditionType"]) == "True" for gate in gates)
    return [
        f"{ready}/{len(spec.get('containers') or ()) + len(sidecars)}",
        pod_state(pod),
        _restarts([*inits, *statuses], now),
        since(pod["metadata"].get("creationTimestamp"), now),
        status.get("podIP") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        f"{passed}/{len(gates)}" if gates else NONE,
    ]


def pod_state(pod: Json) -> str:
    """The one word: what its containers wait for or died of, before the phase."""
    status = pod.get("status") or {}
    word = status.get("reason") or status.get("phase") or "Unknown"
    sidecars = {
        item["name"] for item in (pod.get("spec") or {}).get("initContainers") or ()
        if item.get("restartPolicy") == "Always"
    }  # fmt: skip
    inits = status.get("initContainerStatuses") or []
    pending = next((index for index, item in enumerate(inits) if not _is_past(item, item["name"] in sidecars)), None)
    if pending is not None:
        word = f"Init:{_init_word(inits[pending]) or f'{pending}/{len(inits)}'}"
    else:
        statuses = status.get("containerStatuses") or []
        words = [found for item in statuses if (found := _container_word(item))]
        word = words[0] if words else word
        is_running = any(item.get("ready") and "running" in (item.get("state") or {}) for item in statuses)
        if word == "Completed" and is_running:
            word = "Running"
    if pod["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return str(word)


def _is_past(item: Json, is_sidecar: bool) -> bool:
    """Whether the init container no longer keeps the next one waiting."""
    ended = (item.get("state") or {}).get("terminated")
    return bool(is_sidecar and item.get("started")) or (ended is not None and ended.get("exitCode") == 0)


def _init_word(item: Json) -> str:
    word = _container_word(item)
    return "" if word == "PodInitializing" else word


def _container_word(item: Json) -> str:
    state = item.get("state") or {}
    if waiting := state.get("waiting"):
        return str(waiting.get("reason") or "")
    if (ended := state.get("terminated")) is not None:
        signal = ended.get("signal")
        return str(ended.get("reason") or (f"Signal:{signal}" if signal else f"ExitCode:{ended.get('exitCode')}"))
    return ""


def _restarts(statuses: list[Json], now: datetime) -> str:
    count = sum(int(item.get("restartCount") or 0) for item in statuses)
    ends = [((item.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for item in statuses]
    last = max((end for end in ends if end), default="")
    return f"{count} ({since(last, now)} ago)" if count and last else str(count)

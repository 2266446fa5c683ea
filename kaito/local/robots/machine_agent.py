"""The node's own side: what the kubelet and the device plugin of a machine of ours write on their Node."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from kaito.api.core import NODE
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.local.robots.machine_node import CLAIM_ANNOTATION, STARTUP_TAINT, devices, is_ours
from kaito.local.robots.settings import RobotSettings
from kaito.local.robots.status import condition, created, is_condition_true, left_s, since, with_conditions
from kaito.local.robots.world import World, is_deleting

NETWORK_NOT_READY = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin "
    "returns error: cni plugin not initialized"
)
PRESSURES = {
    "MemoryPressure": ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    "DiskPressure": ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    "PIDPressure": ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
}
FLAP_SHARE = 0.2  # of a flapping device plugin's period, GPUs are 0


class MachineAgent:
    name = "machine-agent"
    kinds: tuple[ResourceKind, ...] = (NODE,)

    def __init__(self, world: World, settings: RobotSettings) -> None:
        self._world = world
        self._settings = settings

    def keys(self, kind: ResourceKind, old: Json | None, new: Json | None) -> Iterable[ObjectRef]:
        if new is not None and is_ours(new):
            yield NODE.ref("", new["metadata"]["name"])

    async def reconcile(self, key: ObjectRef) -> float | None:
        node = self._world.find(NODE, key)
        if node is None or is_deleting(node):
            return None
        now = self._world.now()
        ready, ready_wait_s = self._ready(node, now)
        resources, devices_wait_s = self._resources(node, now)
        conditions = with_conditions(node["status"].get("conditions") or [], *_pressures(), ready, now=now)
        status = {
            "conditions": [{"lastHeartbeatTime": item["lastTransitionTime"]} | item for item in conditions],
            **resources,
            "nodeInfo": self._node_info(node),
            "addresses": [{"type": "Hostname", "address": key.name}],
        }
        node = await self._world.patch_status(NODE, node, status)
        if ready["status"] == "True":
            await self._clear_startup_taint(node)
        waits = [wait_s for wait_s in (ready_wait_s, devices_wait_s) if wait_s]
        return min(waits) if waits else None

    def _names(self, node: Json) -> tuple[str, str, str]:
        meta = node["metadata"]
        claim = (meta.get("annotations") or {}).get(CLAIM_ANNOTATION) or ""
        return meta["name"], claim, (meta.get("labels") or {}).get("node.kubernetes.io/instance-type") or ""

    def _delay_s(self, stage: str, delay_s: float, node: Json) -> float:
        jitter = self._settings.delays.jitter
        return delay_s * (1 + self._world.chance("machine", stage, node["metadata"]["name"]).uniform(-jitter, jitter))

    def _ready(self, node: Json, now: datetime) -> tuple[Json, float | None]:
        """The Ready condition, and when time changes it."""
        names, settings = self._names(node), self._settings
        if settings.fault("node-never-ready", *names):
            return condition("Ready", "False", "KubeletNotReady", NETWORK_NOT_READY), None
        late = settings.fault("node-ready-late", *names)
        delay_s = late.argument_s if late else self._delay_s("ready", settings.delays.node_ready_s, node)
        if wait_s := left_s(created(node), delay_s, now):
            return condition("Ready", "False", "KubeletNotReady", NETWORK_NOT_READY), wait_s
        ready = condition("Ready", "True", "KubeletReady", "kubelet is posting ready status")
        silent = settings.fault("node-not-ready", *names)
        if silent is None:
            return ready, None
        if wait_s := left_s(created(node), delay_s + silent.argument_s, now):
            return ready, wait_s
        return condition("Ready", "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."), None

    def _resources(self, node: Json, now: datetime) -> tuple[Json, float | None]:
        """Capacity and allocatable as the device plugin reports them, and when time changes that."""
        resource, count = devices(node)
        ready_since = since(node, "Ready")
        if not resource or (ready_since is None and resource not in (node["status"].get("capacity") or {})):
            return {}, None
        names, settings = self._names(node), self._settings
        if settings.fault("device-plugin-missing", *names):
            return {}, None
        start = ready_since or created(node)
        late = settings.fault("device-plugin-late", *names)
        delay_s = late.argument_s if late else self._delay_s("plugin", settings.delays.device_plugin_s, node)
        if ready_since is not None and (wait_s := left_s(start, delay_s, now)):
            return {}, wait_s
        sick = settings.fault("gpu-unhealthy", *names)
        offered = max(0, count - int(sick.argument)) if sick else count
        flapping = settings.fault("device-plugin-flapping", *names)
        turns_s: float | None = None
        if flapping:
            phase_s = max(0.0, (now - start).total_seconds() - delay_s) % flapping.argument_s
            up_s = flapping.argument_s * (1 - FLAP_SHARE)
            is_up = phase_s < up_s
            count, offered = (count, offered) if is_up else (0, 0)
            turns_s = (up_s if is_up else flapping.argument_s) - phase_s
        return {"capacity": {resource: str(count)}, "allocatable": {resource: str(offered)}}, turns_s

    def _node_info(self, node: Json) -> Json:
        return {
            "kubeletVersion": f"v1.{self._settings.cluster_minor}.0+kaito-local",
            "kubeProxyVersion": f"v1.{self._settings.cluster_minor}.0+kaito-local",
            "containerRuntimeVersion": "kaito-local://0.1.0",
            "operatingSystem": "linux",
            "architecture": "amd64",
            "osImage": "kaito local machine",
            "kernelVersion": "local",
            "machineID": node["metadata"]["uid"],
            "systemUUID": node["metadata"]["uid"],
            "bootID": node["metadata"]["uid"],
        }

    async def _clear_startup_taint(self, node: Json) -> None:
        taints = node["spec"].get("taints") or []
        kept = [taint for taint in taints if taint["key"] != STARTUP_TAINT["key"]]
        if len(kept) == len(taints) or self._settings.fault("startup-taint-stays", *self._names(node)):
            return
        await self._world.patch(NODE, node, {"spec": {"taints": kept}})


def _pressures() -> list[Json]:
    return [condition(type_, "False", reason, message) for type_, (reason, message) in PRESSURES.items()]


def is_node_ready(node: Json) -> bool:
    return not is_deleting(node) and is_condition_true(node, "Ready")

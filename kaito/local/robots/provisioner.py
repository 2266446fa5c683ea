"""The provisioner: NodeClaim → machine → Node, with Karpenter's conditions; and back when the claim is deleted.

It is the cloud and gpu-provisioner in one: it launches (or refuses with a cloud's words), boots the machine, which
joins as a Node, registers it, and calls it initialized when it is Ready, free of startup taints and offers its devices.
On the way back it drains the machine, as Karpenter does: pods are stopped while there is still a kubelet to stop them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from kaito.api.core import NODE, POD
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.local.robots.drain import drain, drained_claim
from kaito.local.robots.events import emit
from kaito.local.robots.machine_node import (
    CLAIM_ANNOTATION,
    STARTUP_TAINT,
    UNREGISTERED_TAINT,
    machine_node,
    node_name,
)
from kaito.local.robots.machines import Machine, requested_type
from kaito.local.robots.settings import RobotSettings
from kaito.local.robots.status import (
    condition,
    created,
    find_condition,
    is_condition_true,
    left_s,
    since,
    with_conditions,
)
from kaito.local.robots.world import World, is_deleting

FINALIZER = "karpenter.sh/termination"
STAGES = ("Launched", "Registered", "Initialized")
MISSED_RETRY_S = 30.0  # a refused launch is tried again after so long


class Provisioner:
    name = "provisioner"
    kinds: tuple[ResourceKind, ...] = (NODE_CLAIM, NODE, POD)

    def __init__(self, world: World, settings: RobotSettings, find_machine: Callable[[str], Machine | None]) -> None:
        self._world = world
        self._settings = settings
        self._find_machine = find_machine

    def keys(self, kind: ResourceKind, old: Json | None, new: Json | None) -> Iterable[ObjectRef]:
        obj = new or old or {}
        if kind == NODE_CLAIM:
            yield NODE_CLAIM.ref("", obj["metadata"]["name"])
        elif kind == POD:
            yield from drained_claim(self._world, old) if new is None else ()
        elif claim := (obj["metadata"].get("annotations") or {}).get(CLAIM_ANNOTATION):
            yield NODE_CLAIM.ref("", claim)

    async def reconcile(self, key: ObjectRef) -> float | None:
        claim = self._world.find(NODE_CLAIM, key)
        if claim is None:
            return None
        if is_deleting(claim):
            return await self._release(claim)
        if FINALIZER not in (claim["metadata"].get("finalizers") or []):
            finalizers = [*(claim["metadata"].get("finalizers") or []), FINALIZER]
            claim = await self._world.patch(NODE_CLAIM, claim, {"metadata": {"finalizers": finalizers}})
        if not is_condition_true(claim, "Launched"):
            return await self._launch(claim)
        if not is_condition_true(claim, "Registered"):
            return await self._register(claim)
        return await self._initialize(claim)

    def _delay_s(self, stage: str, delay_s: float, claim: Json) -> float:
        """The stage's delay for this claim: the same at every look."""
        jitter = self._settings.delays.jitter
        share = self._world.chance("provisioner", stage, claim["metadata"]["name"]).uniform(-jitter, jitter)
        return delay_s * (1 + share)

    def _names(self, claim: Json) -> tuple[str, str]:
        return claim["metadata"]["name"], requested_type(claim)

    # Up.

    async def _launch(self, claim: Json) -> float | None:
        now = self._world.now()
        late = self._settings.fault("launch-late", *self._names(claim))
        delay_s = late.argument_s if late else self._delay_s("launch", self._settings.delays.launch_s, claim)
        if not find_condition(claim, "Launched"):
            # First of all it says that somebody cares.
            claim = await self._patch(claim, now, *_awaiting(STAGES), _ready(False))
        if wait_s := left_s(created(claim), delay_s, now):
            return wait_s
        if self._settings.fault("claim-given-up", *self._names(claim)):
            await self._give_up(claim)
            return None
        machine = self._find_machine(requested_type(claim))
        if refusal := self._refusal(claim, machine):
            await self._patch(claim, now, condition("Launched", "False", *refusal), _ready(False))
            return MISSED_RETRY_S
        assert machine is not None
        status = {
            "providerID": f"kaito-local:///{claim['metadata']['name']}",
            "imageID": "kaito-local-image",
            "capacity": machine.capacity(gpus=machine.gpus or None),
            "allocatable": machine.capacity(gpus=machine.gpus or None),
        }
        claim = await self._patch(claim, now, condition("Launched"), **status)
        return await self._register(claim)

    async def _give_up(self, claim: Json) -> None:
        """Karpenter's way: the claim goes, and an Event alone says why."""
        name, wanted = self._names(claim)
        words = f"NodeClaim {name} event: insufficient capacity, no offering of {wanted} is available"
        await emit(self._world, "karpenter", NODE_CLAIM, claim, "Warning", "InsufficientCapacityError", words)
        await self._world.delete(NODE_CLAIM, claim)

    def _refusal(self, claim: Json, machine: Machine | None) -> tuple[str, str] | None:
        """Reason and message, in the words of the cloud, when it gives no machine."""
        name, wanted = self._names(claim)
        family = wanted.removeprefix("Standard_").rstrip("0123456789") or wanted
        if machine is None:
            words = f"The requested VM size {wanted or '(none)'} is invalid: it is not available in the current region"
            return "LaunchFailed", f"creating instance failed, InvalidParameter: {words}"
        if self._settings.fault("quota-exceeded", name, wanted):
            return "LaunchFailed", (
                "creating instance failed, OperationNotAllowed: Operation could not be completed as it results in "
                f"exceeding approved {family} Family Cores quota. Additional details - Current Limit: 0, Current "
                f"Usage: 0, Additional Required: {machine.capacity()['cpu']}"
            )
        if self._settings.fault("capacity-exhausted", name, wanted):
            return "LaunchFailed", (
                "creating instance failed, SkuNotAvailable: The requested size for resource is currently not available "
                f"in location due to capacity restrictions ({wanted})"
            )
        return None

    async def _register(self, claim: Json) -> float | None:
        now, settings = self._world.now(), self._settings
        if settings.fault("node-never-registers", *self._names(claim)):
            return None
        launched = since(claim, "Launched") or now
        if wait_s := left_s(launched, self._delay_s("register", settings.delays.register_s, claim), now):
            return wait_s
        node = self._world.get(NODE, "", node_name(claim))
        if node is None:
            node = await self._world.create(NODE, self._boot(claim))
        node = await self._mark_registered(node)
        claim = await self._patch(claim, now, condition("Registered"), nodeName=node["metadata"]["name"])
        return await self._initialize(claim)

    async def _mark_registered(self, node: Json) -> Json:
        """Lifts the first taint; at every look, because a control plane that patches taints may bring it back."""
        taints = node["spec"].get("taints") or []
        kept = [taint for taint in taints if taint["key"] != UNREGISTERED_TAINT["key"]]
        labels = {"karpenter.sh/registered": "true"}
        if len(kept) == len(taints) and labels.items() <= node["metadata"]["labels"].items():
            return node
        return await self._world.patch(NODE, node, {"metadata": {"labels": labels}, "spec": {"taints": kept}})

    def _boot(self, claim: Json) -> Json:
        wanted = requested_type(claim)
        given = self._settings.fault("wrong-instance-type", *self._names(claim))
        machine = self._find_machine(wanted)
        assert machine is not None
        return machine_node(claim, machine, instance_type=given.argument if given else machine.instance_type)

    async def _initialize(self, claim: Json) -> float | None:
        node = self._world.get(NODE, "", claim["status"].get("nodeName") or "")
        if node is not None and not is_deleting(node):
            node = await self._mark_registered(node)
        if is_condition_true(claim, "Initialized"):
            await self._watch_over(claim, node)
            return None
        now = self._world.now()
        if missing := self._missing(claim, node):
            await self._patch(claim, now, condition("Initialized", "Unknown", *missing), _ready(False))
            return None
        delay_s = self._delay_s("initialize", self._settings.delays.initialize_s, claim)
        ready_since = since(node or {}, "Ready") or now
        if wait_s := left_s(ready_since, delay_s, now):
            return wait_s
        if node is not None:
            await self._world.patch(NODE, node, {"metadata": {"labels": {"karpenter.sh/initialized": "true"}}})
        await self._patch(claim, now, condition("Initialized"), _ready(True))
        return None

    def _missing(self, claim: Json, node: Json | None) -> tuple[str, str] | None:
        """What keeps the node from being initialized, as Karpenter says it."""
        if node is None:
            return "NodeNotFound", "Node not registered with cluster"
        if not is_condition_true(node, "Ready"):
            return "NodeNotReady", "Node status is NotReady"
        if any(taint["key"] == STARTUP_TAINT["key"] for taint in node["spec"].get("taints") or []):
            return "StartupTaintsExist", f'StartupTaint "{STARTUP_TAINT["key"]}:{STARTUP_TAINT["effect"]}" still exists'
        for resource in claim["status"].get("allocatable") or {}:
            if (node["status"].get("allocatable") or {}).get(resource, "0") == "0":
                return "ResourceNotRegistered", f'Resource "{resource}" was requested but not registered'
        return None

    async def _watch_over(self, claim: Json, node: Json | None) -> None:
        """Initialized stays true; Ready says whether the node is there and Ready."""
        is_ready = node is not None and is_condition_true(node, "Ready")
        await self._patch(claim, self._world.now(), _ready(is_ready))

    # Down.

    async def _release(self, claim: Json) -> float | None:
        node = self._world.get(NODE, "", node_name(claim))
        deleted = datetime.fromisoformat(claim["metadata"]["deletionTimestamp"])
        if node is not None and not is_deleting(node):
            if wait_s := await drain(self._world, node, deleted):
                return wait_s
            await self._world.delete(NODE, node)
        delay_s = self._delay_s("release", self._settings.delays.release_s, claim)
        if wait_s := left_s(deleted, delay_s, self._world.now()):
            return wait_s
        finalizers = claim["metadata"].get("finalizers") or []
        if FINALIZER in finalizers:
            kept = [finalizer for finalizer in finalizers if finalizer != FINALIZER]
            await self._world.patch(NODE_CLAIM, claim, {"metadata": {"finalizers": kept or None}})
        return None

    async def _patch(self, claim: Json, now: datetime, *conditions: Json, **status: object) -> Json:
        existing = (claim.get("status") or {}).get("conditions") or []
        merged = with_conditions(existing, *conditions, now=now)
        return await self._world.patch_status(NODE_CLAIM, claim, {**status, "conditions": merged})


def _awaiting(stages: Iterable[str]) -> list[Json]:
    message = "object is awaiting reconciliation"
    return [condition(stage, "Unknown", "AwaitingReconciliation", message) for stage in stages]


def _ready(is_ready: bool) -> Json:
    if is_ready:
        return condition("Ready")
    return condition("Ready", "False", "UnhealthyDependents", "not every stage has come true")

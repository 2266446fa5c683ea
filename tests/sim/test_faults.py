"""Every fault of `kaito local up --fault`, as a user sees it: `kaito explain` names the root cause and nothing else."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from random import Random
from typing import Any

import anyio
import pytest
import trio
from trio.testing import MockClock

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION
from kaito.api.crds import node_claim_crd, node_pool_crd, workspace_crd
from kaito.api.meta import Json
from kaito.api.workspace import WORKSPACE
from kaito.cli.explain import explain_root
from kaito.local.apiserver import ApiServer
from kaito.local.client import LocalClient
from kaito.local.robots.run import run_robots
from kaito.local.robots.settings import FAULTS, RobotSettings, parse_fault
from kaito.operator import Operator
from kaito.plan.explain import Explanation, headline
from kaito.plan.verdict import Failed
from kaito.settings import PlanSettings
from tests.builders import START, workspace

REF = WORKSPACE.ref("default", "phi")
DEFAULTS = PlanSettings()
READY: list[tuple[str, str, str, bool]] = []

# Fault → when to ask (seconds after the Workspace was created) → the causes: gate, reason, kind of the culprit, failed.
CAUSES: dict[str, list[tuple[float, list[tuple[str, str, str, bool]]]]] = {
    "quota-exceeded": [(40, [("ClaimLaunched", "LaunchFailed", "NodeClaim", True)])],
    "capacity-exhausted": [(40, [("ClaimLaunched", "LaunchFailed", "NodeClaim", True)])],
    "claim-given-up": [(40, [("ClaimLaunched", "InsufficientCapacityError", "Workspace", True)])],
    "launch-late": [(40, [("ClaimLaunched", "MachineNotLaunched", "NodeClaim", False)]), (90, READY)],
    "node-never-registers": [
        (40, [("NodeRegistered", "NodeNotRegistered", "NodeClaim", False)]),
        (1_000, [("NodeRegistered", "NodeNotRegistered", "NodeClaim", False)]),
    ],
    "node-never-ready": [
        (40, [("NodeReady", "NodeNotReady", "Node", False)]),
        (400, [("NodeReady", "NodeNotReady", "Node", True)]),
    ],
    "node-ready-late": [(40, [("NodeReady", "NodeNotReady", "Node", False)]), (90, READY)],
    "node-not-ready": [(20, READY), (40, [("NodeReady", "NodeNotReady", "Node", False)])],
    "startup-taint-stays": [(40, [("TaintsCleared", "NodeTainted", "Node", False)])],
    "wrong-instance-type": [(40, [("InstanceTypeMatched", "InstanceTypeMismatch", "Node", True)])],
    "device-plugin-missing": [(40, [("GPUAllocatable", "DevicePluginMissing", "Node", False)])],
    "device-plugin-late": [(40, [("GPUAllocatable", "DevicePluginMissing", "Node", False)]), (90, READY)],
    "device-plugin-flapping": [(20, READY), (400, READY)],
    "gpu-unhealthy": [(40, [("GPUAllocatable", "GPUUnhealthy", "Node", False)])],
    "image-pull-error": [(40, [("ContainersStarted", "ImagePullError", "Pod", True)])],
    "server-crash-loop": [(40, [("ContainersStarted", "ContainerCrashLoopBackOff", "Pod", True)])],
    "server-out-of-memory": [(40, [("ContainersStarted", "ContainerOOMKilled", "Pod", True)])],
    "server-never-ready": [(40, [("ServerReady", "ModelLoading", "Pod", False)])],
}
# What a person reads, where the gate and the reason alone would not say enough.
WORDS = {
    "launch-late": "the cloud has not given a machine yet",
    "node-never-registers": "was launched and has not joined the cluster as a node",
    "node-never-ready": "see the network plugin's pods",
    "device-plugin-missing": "no device plugin has registered with its kubelet",
    "claim-given-up": "no offering of Standard_NC24ads_A100_v4 is available",
    "quota-exceeded": "ask the cloud provider for more quota",
}


def explained(
    fault: str, at_s: list[float], settings: PlanSettings = DEFAULTS, notes: Json | None = None
) -> list[Explanation]:
    """What `kaito explain` says of a Workspace (with these annotations) at these moments of a life with this fault."""

    async def main() -> list[Explanation]:
        start_s, ids = anyio.current_time(), itertools.count()

        def now() -> datetime:
            return START + timedelta(seconds=anyio.current_time() - start_s)

        server = ApiServer(now=now, new_uid=lambda: f"uid-{next(ids)}")
        server.start()
        client = LocalClient(server)
        for crd in (workspace_crd(), node_claim_crd(), node_pool_crd()):
            await client.create(CUSTOM_RESOURCE_DEFINITION, "", crd)
        robots = RobotSettings(faults=(parse_fault(fault),), is_strict=True)

        async def machines(*, task_status: Any) -> None:
            await run_robots(client, robots, now=now, rng=Random(0), task_status=task_status)

        async with anyio.create_task_group() as tasks:
            await tasks.start(machines)
            tasks.start_soon(Operator(client, settings, now=now, rng=Random(1)).run)
            metadata = {"name": "phi", "namespace": "default", "annotations": notes or {}}
            body = workspace(finalizer=False) | {"metadata": metadata}
            await client.create(WORKSPACE, "default", body)
            found = []
            for moment_s in at_s:
                await anyio.sleep(start_s + moment_s - anyio.current_time())
                found.append(await explain_root(client, REF, now(), settings))
            tasks.cancel_scope.cancel()
        return found

    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[attr-defined]
    trio._core._run._r.seed(1)  # type: ignore[attr-defined]
    return trio.run(main, clock=MockClock(autojump_threshold=0))  # type: ignore[no-any-return]


@pytest.mark.parametrize("fault", FAULTS)
def test_explain_names_the_root_cause_of_a_fault_and_no_consequence_of_it(fault: str) -> None:
    told = explained(fault, [moment_s for moment_s, _ in CAUSES[fault]])
    for (moment_s, expected), found in zip(CAUSES[fault], told, strict=True):
        causes = [
            (cause.gate, cause.reason, cause.culprit.kind, isinstance(cause, Failed))
            for cause in found.causes
            if not getattr(cause, "is_tolerated", False)
        ]
        assert causes == expected, f"{moment_s} s"
        assert (found.state == "Ready") == (expected == READY)
        assert all(cause.next_step for cause in found.causes)
    if fault in WORDS:
        assert WORDS[fault] in headline(told[0].causes[0])


@pytest.mark.parametrize("fault", ["capacity-exhausted", "claim-given-up"])
@pytest.mark.parametrize("way", ["azure-gpu-provisioner", "karpenter"])
def test_the_next_instance_type_is_asked_for_when_the_first_is_not_to_be_had(way: Any, fault: str) -> None:
    notes = {"kaito.sh/instance-type-fallbacks": "Standard_NC48ads_A100_v4"}
    first, second = explained(f"{fault}@Standard_NC24ads_A100_v4", [40, 400], PlanSettings(node_provisioner=way), notes)
    assert [cause.gate for cause in first.causes] == ["ClaimLaunched"]
    assert second.state == "Ready"
    matched = next(stage for stage in second.passed if stage.gate == "InstanceTypeMatched")
    assert "Standard_NC48ads_A100_v4" in matched.message

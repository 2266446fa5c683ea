"""GATES: what lies between a Workspace and its answer, in the order in which it opens.

To add a gate: one file with NAME, CONDITION (the status condition that it belongs to) and `judge(snapshot)`, and its
line below; GOAL as well where it concerns only workloads whose pods are to "answer", or to "end". From it come the
order, the condition, the stage of the timeline and the lines of `kaito explain`. `judge` returns None where the gate
does not concern the Workspace (no NodeClaims on nodes that the user brings).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from kaito.plan.gates import (
    claim_created,
    containers_started,
    gpu_allocatable,
    initialized,
    instance_type,
    job_succeeded,
    launched,
    node_ready,
    nodes_planned,
    pod_scheduled,
    registered,
    server_ready,
    taints_cleared,
    workload_created,
)
from kaito.plan.snapshot import Snapshot
from kaito.plan.verdict import Verdict
from kaito.plan.work import Goal

Judge: TypeAlias = Callable[[Snapshot], Verdict | None]


@dataclass(frozen=True, slots=True)
class Gate:
    """`goal`: what the pods of a workload are for that has this gate; None for every workload."""

    name: str
    condition: str
    judge: Judge
    goal: Goal | None = None


GATES: tuple[Gate, ...] = tuple(
    Gate(module.NAME, module.CONDITION, module.judge, getattr(module, "GOAL", None))
    for module in (
        nodes_planned,
        claim_created,
        launched,
        registered,
        initialized,
        node_ready,
        taints_cleared,
        instance_type,
        gpu_allocatable,
        workload_created,
        pod_scheduled,
        containers_started,
        server_ready,
        job_succeeded,
    )
)


def judge_all(snapshot: Snapshot) -> tuple[Verdict, ...]:
    """Every gate's verdict, in order; gates that do not concern the Workspace are left out."""
    gates = (gate for gate in GATES if gate.goal in (None, snapshot.work.goal))
    return tuple(verdict for gate in gates if (verdict := gate.judge(snapshot)) is not None)

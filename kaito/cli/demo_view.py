"""What the demo shows of a root on its way: stages that are passed, those that wait, each with its age. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from kaito.api.meta import Json
from kaito.clock import parse_rfc3339
from kaito.plan.explain import age
from kaito.plan.gates import GATES
from kaito.plan.status import CONDITION_OF_GATE, GPU_READY, NODE_CLAIM_READY, NODES_READY

# The gates in a newcomer's words. A gate that is not here is shown by its name.
WORDS: dict[str, str] = {
    "NodesPlanned": "nodes planned",
    "ClaimCreated": "NodeClaim created",
    "ClaimLaunched": "machine launched",
    "NodeRegistered": "node registered",
    "ClaimInitialized": "node initialized",
    "NodeReady": "node ready",
    "TaintsCleared": "node takes pods",
    "InstanceTypeMatched": "instance type as asked",
    "GPUAllocatable": "GPU allocatable",
    "WorkloadCreated": "workload created",
    "PodScheduled": "pod scheduled",
    "ContainersStarted": "container started",
    "ServerReady": "model loaded, server answers",
    "JobSucceeded": "model tuned, adapter written",
}

GOAL_OF_GATE = {gate.name: gate.goal for gate in GATES}
MACHINE_CONDITIONS = (NODE_CLAIM_READY, NODES_READY, GPU_READY)

Mark = Literal["passed", "waiting", "failed", "later"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One line of the picture. `since`: when it was passed, or since when it waits."""

    gate: str
    mark: Mark
    since: datetime | None = None
    note: str = ""

    @property
    def words(self) -> str:
        return WORDS.get(self.gate, self.gate)


def stages_of(root: Json) -> list[Stage]:
    """Every stage of a Workspace or RAGEngine in order."""
    status = root.get("status") or {}
    passed = {entry["stage"]: entry for entry in status.get("timeline") or []}
    blocked = {blocker["gate"]: blocker for blocker in reversed(status.get("blockers") or [])}
    first = next(iter(status.get("blockers") or []), None)
    ahead = (gate for gate in WORDS if gate in passed or gate in blocked or _lies_ahead(root, gate))
    stages = []
    for gate in dict.fromkeys((*ahead, *passed, *blocked)):
        if blocker := blocked.get(gate):
            mark: Mark = "failed" if has_failed(root) and blocker is first else "waiting"
            stages.append(Stage(gate, mark, parse_rfc3339(blocker["since"]), blocker.get("message") or ""))
        elif entry := passed.get(gate):
            stages.append(Stage(gate, "passed", parse_rfc3339(entry["at"]), entry.get("message") or ""))
        else:
            stages.append(Stage(gate, "later"))
    return stages


def _lies_ahead(root: Json, gate: str) -> bool:
    """Whether the root will have to pass the gate, as far as its spec tells."""
    if CONDITION_OF_GATE[gate] in MACHINE_CONDITIONS:
        return root.get("kind") != "RAGEngine" or bool((root.get("spec") or {}).get("compute"))
    return GOAL_OF_GATE[gate] in (None, "end" if root.get("tuning") else "answer")


def is_ready(root: Json) -> bool:
    return _succeeded(root).get("status") == "True"


def has_failed(root: Json) -> bool:
    """Whether a stage has failed: it will not go on without help."""
    return _succeeded(root).get("reason") == f"{str(root.get('kind')).lower()}Failed"


def chain(root: Json, now: datetime) -> list[str]:
    """The causal chain from the root's status, deepest cause first."""
    meta, status = root["metadata"], root.get("status") or {}
    kind = str(root.get("kind")).lower()
    lines = [f"{kind}/{meta.get('namespace', 'default')}/{meta['name']} is {status.get('state') or 'Pending'}"]
    for index, blocker in enumerate(status.get("blockers") or []):
        lead = "because" if index == 0 else "and"
        waited = age(parse_rfc3339(blocker["since"]), now)
        lines.append(f"  {lead} {blocker['gate']} ({blocker['reason']}) for {waited}: {blocker['message']}")
        lines.append(f"      object: {blocker['culprit']}")
        if blocker.get("nextStep"):
            lines.append(f"      next:   {blocker['nextStep']}")
    return lines


@dataclass(slots=True)
class Journal:
    """Append-only progress, for where there is no terminal: each stage once, when it is passed or begins to wait."""

    started: datetime
    _told: dict[str, tuple[Mark, str]] = field(default_factory=dict)

    def lines(self, stages: Sequence[Stage]) -> list[str]:
        """What is new since the last look."""
        found = []
        for stage in stages:
            said = (stage.mark, "" if stage.mark == "passed" else stage.note)
            before = self._told.get(stage.gate)
            if stage.mark == "later" and (before is None or before[0] != "passed"):
                continue
            if before != said:
                self._told[stage.gate] = said
                found.append(self._line(stage))
        return found

    def _line(self, stage: Stage) -> str:
        marks = {"passed": "ok  ", "waiting": "... ", "failed": "FAIL", "later": "back"}
        after = age(self.started, stage.since) if stage.since else ""
        note = f": {stage.note}" if stage.note else ""
        return f"{after:>6}  {marks[stage.mark]}  {stage.words}{note}"


def _succeeded(root: Json) -> Json:
    """The condition WorkspaceSucceeded or RAGEngineSucceeded."""
    conditions = (root.get("status") or {}).get("conditions") or []
    return next((item for item in conditions if item.get("type") == f"{root.get('kind')}Succeeded"), {})

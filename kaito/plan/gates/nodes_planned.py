"""Gate: the Workspace makes sense, and the number of nodes that its model needs is known."""

from __future__ import annotations

from kaito.plan.snapshot import Snapshot
from kaito.plan.verdict import Verdict

NAME = "NodesPlanned"
CONDITION = "ResourceReady"


def judge(s: Snapshot) -> Verdict | None:
    return s.planned

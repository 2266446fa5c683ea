"""StatusPace: when a status that only tells of progress is written. A pure data structure: time is passed in.

Most stages of a root are over before anybody could have read of them; writing each made 12 of the 20 writes of a
Workspace (`python -m benchmarks.operator`). So a status that is progress (`plan.progress`) waits until WINDOW_S after
it was first wanted, and then tells what is so by then. Where more roots wait than RATE_PER_S allows for, they wait
longer, so that a thousand Workspaces at once do not drown the API server in news of their progress. Only the telling
waits: what a root needs is created at once, and what users act on is never held back.
"""

from __future__ import annotations

from dataclasses import replace

from kaito.api.meta import ObjectRef
from kaito.plan.actions import Emit, PatchStatus, Plan

WINDOW_S = 0.5  # what a person takes for immediate
RATE_PER_S = 20.0  # all roots together; what client-go allows a controller for all of its requests
WAIT_MAX_S = 60.0


class StatusPace:
    """Law: a status waits at most WAIT_MAX_S from when it was first wanted, whatever is planned meanwhile."""

    def __init__(self) -> None:
        self._due_s: dict[ObjectRef, float] = {}

    def __len__(self) -> int:
        """Roots whose status waits."""
        return len(self._due_s)

    def admit(self, plan: Plan, now_s: float) -> tuple[Plan, float | None]:
        """The plan as it is, or without its progress and with the seconds that this may still wait."""
        if not any(_is_progress(action) for action in plan.actions):
            self._due_s.pop(plan.root, None)
            return plan, None
        due_s = self._due_s.get(plan.root)
        if due_s is None:
            wait_s = min(max(WINDOW_S, len(self._due_s) / RATE_PER_S), WAIT_MAX_S)
            due_s = self._due_s[plan.root] = now_s + wait_s
        if due_s <= now_s:
            del self._due_s[plan.root]
            return plan, None
        rest = tuple(action for action in plan.actions if not _is_progress(action))
        return replace(plan, actions=rest), due_s - now_s


def _is_progress(action: object) -> bool:
    return isinstance(action, PatchStatus | Emit) and action.is_progress

"""contained: a planner whose failure over one root stops that root alone.

A planner that raises is a bug of ours, and the object that it raised over is there at the next start, too: to crash
would stop every other root for as long as that object exists. A planner writes nothing, so that one that raised has
decided nothing; the root waits until it changes, and is told of. Everywhere else a bug still ends the process; so it
does in tests and in the simulator, which do not contain.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from kaito.actors.roster import RootPlanner
from kaito.api.meta import ObjectRef
from kaito.plan.actions import Emit, Plan
from kaito.settings import PlanSettings
from kaito.state.kinds import metadata_of
from kaito.state.view import ClusterView

RECHECK_S = 300.0  # what it raised over may be another object than the root
REASON = "PlannerFailed"


def contained(planner: RootPlanner, told: Callable[[ObjectRef, Exception], None]) -> RootPlanner:
    """The planner; where it raises, an Event says so to the root's user, and `told` is called with the exception."""

    def plan(view: ClusterView, ref: ObjectRef, now: datetime, settings: PlanSettings) -> Plan:
        try:
            return planner(view, ref, now, settings)
        except Exception as error:
            told(ref, error)
            found = view.root(ref)
            uid = metadata_of(found)[0] if found is not None else ""
            message = (
                f"a bug of the operator keeps it from planning this {ref.kind} ({type(error).__name__}: {error}): "
                "nothing of it is changed until it changes; report it with the operator's log"
            )
            return Plan(ref, (Emit(ref, uid, "Warning", REASON, message[:1_000]),), recheck_s=RECHECK_S)

    return plan

"""What the API server refused of a root's children, in its words: the gate that waits for the child says so.

The answer to a write enters the graph as one to a `Read` does. Who has not written itself, such as `kaito explain`,
finds it in the status.
"""

from __future__ import annotations

from kaito.api.meta import ObjectRef
from kaito.plan.snapshot import Snapshot, parse_time
from kaito.plan.verdict import Failed, Waiting

REASON = "Refused"
WORDS_CHARS_MAX = 600
STEP = (
    "correct what it names; it is asked for again when the {kind} changes, else every few minutes "
    "(a quota, a policy or a webhook of the cluster may be what refuses)"
)


def refusal_key(ref: ObjectRef) -> str:
    """Under which the answer about this child is kept; its text is empty once the server has taken it."""
    return f"refused/{ref.kind}/{ref.name}"


def refusal(s: Snapshot, gate: str, ref: ObjectRef) -> Failed | None:
    """The verdict of a gate that waits for this child, where the server refused it last."""
    step, answer = STEP.format(kind=s.ref.kind), s.view.answer(s.ref, refusal_key(ref))
    if answer is not None:
        words = answer.text[:WORDS_CHARS_MAX]
        message = f"the API server refuses {ref.kind} {ref.name}: {words}"
        return Failed(gate, REASON, message, ref, step, answer.at) if words else None
    for blocker in s.prior.get("blockers") or ():
        if (blocker.get("gate"), blocker.get("reason"), blocker.get("culprit")) == (gate, REASON, str(ref)):
            return Failed(gate, REASON, str(blocker.get("message")), ref, step, parse_time(blocker.get("since")))
    return None


def refused_change(s: Snapshot, gate: str, ref: ObjectRef) -> Waiting | None:
    """The same of a child that is there, and stays as it was: what runs goes on."""
    found = refusal(s, gate, ref)
    if found is None:
        return None
    return Waiting(gate, REASON, found.message, ref, found.next_step, found.since, is_tolerated=True)

"""Which changes of a status may be written a little later (`actors.pace`): those that only tell of progress.

A stage that is over in milliseconds is not worth a request of its own: the timeline of the next status holds it, with
its own time. What somebody may act on is written at once: another state, a failure and its words, a condition that was
True or is new, an answer to a new spec, a stage that has closed again (its `since` starts a tolerance that the status
remembers), and every field that a later plan reads (target, instance type, refusals).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kaito.api.meta import Json
from kaito.plan.explain import Cause
from kaito.plan.verdict import Failed

PROGRESS_FIELDS = frozenset({"blockers", "conditions", "timeline", "workerNodes"})


def is_progress(prior: Json, status: Json, patch: Json, found: Sequence[Cause]) -> bool:
    """Whether the step from `prior` to `status`, which is `patch`, tells of progress alone. `found`: its causes."""
    if not patch.keys() <= PROGRESS_FIELDS or not prior.get("conditions"):
        return False
    return not _is_setback(prior, status) and not any(_is_urgent(prior, cause) for cause in found)


def _is_setback(prior: Json, status: Json) -> bool:
    before = _by(prior, "conditions", "type")
    return any(
        (old := before.get(new["type"])) is None
        or (old["status"] == "True" and new["status"] != "True")
        or old.get("observedGeneration") != new.get("observedGeneration")
        for new in status["conditions"]
    )


def _is_urgent(prior: Json, cause: Cause) -> bool:
    if cause.gate in _by(prior, "timeline", "stage"):
        return True
    told = _by(prior, "blockers", "gate").get(cause.gate, {})
    words = (cause.reason, cause.message, str(cause.culprit))
    return isinstance(cause, Failed) and words != (told.get("reason"), told.get("message"), told.get("culprit"))


def _by(status: Json, field: str, key: str) -> Mapping[str, Json]:
    return {str(item.get(key)): item for item in status.get(field) or ()}

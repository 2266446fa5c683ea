"""Validation: one table of rules per kind, asked by the webhook, the local API server, the planner and `kaito plan`.

    violations = validate(new, old, view, settings)      # JSON objects as the API server sends them
    errors_of(violations), warnings_of(violations)       # each names rule, field, value and remedy

To add a kind: a file like `workspace.py` with its table of `Rule`s and a `validate_<kind>` function, and a row in
`VALIDATORS`. To add a rule: a function `(case) -> Iterable[Found]` and a row in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kaito.api.meta import Json
from kaito.plan.validate.inferenceset import validate_inference_set
from kaito.plan.validate.ragengine import validate_ragengine
from kaito.plan.validate.rule import Case, Evidence, Found, NothingKnown, Rule, judge
from kaito.plan.validate.violation import Violation, denial, errors_of, warnings_of
from kaito.plan.validate.workspace import validate_workspace
from kaito.settings import PlanSettings

__all__ = [
    "VALIDATORS",
    "Case",
    "Evidence",
    "Found",
    "NothingKnown",
    "Rule",
    "Violation",
    "denial",
    "errors_of",
    "judge",
    "validate",
    "warnings_of",
]

Validator = Callable[[Json, Json | None, Evidence, PlanSettings], tuple[Violation, ...]]

VALIDATORS: Mapping[str, Validator] = {
    "Workspace": validate_workspace,
    "InferenceSet": validate_inference_set,
    "RAGEngine": validate_ragengine,
}


def validate(new: Json, old: Json | None, view: Evidence, settings: PlanSettings) -> tuple[Violation, ...]:
    """What is wrong with writing `new` over `old` (None: creating it). Empty for kinds without rules and deletions."""
    validator = VALIDATORS.get(str(new.get("kind")))
    if validator is None or (new.get("metadata") or {}).get("deletionTimestamp"):
        return ()
    return validator(new, old, view, settings)

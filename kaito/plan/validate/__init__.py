"""What our objects may say: one rule set per kind, for the webhook, the local API server, `kaito plan` and planners.

To add a rule: one function that yields (field, message, remedy) and its line in the kind's RULES, with its own id; a
rule about a change goes to the kind's UPDATE_RULES. To add a kind: its file and its line in RULE_SETS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kaito.api.meta import Json
from kaito.api.ragengine import RAGENGINE, parse_ragengine
from kaito.api.workspace import WORKSPACE, parse_workspace
from kaito.plan.validate import ragengine, workspace, workspace_update
from kaito.plan.validate.rules import Facts, NothingKnown, Rule, Subject, UpdateRule, Violation, judge, judge_update
from kaito.settings import PlanSettings

__all__ = ["NOTHING_KNOWN", "Violation", "is_judged", "violations"]

NOTHING_KNOWN = NothingKnown()


@dataclass(frozen=True, slots=True)
class RuleSet:
    parse: Callable[[Json], Any]
    rules: Sequence[Rule[Any]]
    changes: Sequence[UpdateRule[Any]] = ()


RULE_SETS: dict[str, RuleSet] = {
    WORKSPACE.kind: RuleSet(parse_workspace, workspace.RULES, workspace_update.RULES),
    RAGENGINE.kind: RuleSet(parse_ragengine, ragengine.RULES, ragengine.UPDATE_RULES),
}


def is_judged(group: str, kind: str) -> bool:
    """Whether objects of the kind have rules."""
    return group == WORKSPACE.group and kind in RULE_SETS


def violations(
    new: Json, old: Json | None = None, *, facts: Facts = NOTHING_KNOWN, settings: PlanSettings
) -> tuple[Violation, ...]:
    """What is wrong with the object, or with the change from `old`; nothing for one that is being deleted."""
    if (new.get("metadata") or {}).get("deletionTimestamp"):
        return ()
    rule_set = RULE_SETS[new["kind"]]
    found = rule_set.parse(new)
    if isinstance(found, tuple):
        return _misfits(found, rule_set.parse(old) if old is not None else ())
    subject = Subject(found, facts, settings)
    before = rule_set.parse(old) if old is not None else None
    if before is None or isinstance(before, tuple):
        return judge(rule_set.rules, subject)
    return judge_update(rule_set.rules, rule_set.changes, Subject(before, facts, settings), subject)


def _misfits(errors: tuple[str, ...], before: object) -> tuple[Violation, ...]:
    """What does not fit the model at all. Labels and finalizers of an object that never did may still change."""
    if before == errors:
        return ()
    remedy = "correct the type, as `kubectl explain` describes it"
    split = (error.partition(": ") for error in errors)
    return tuple(Violation("schema", field, message or "it does not fit", remedy) for field, _, message in split)

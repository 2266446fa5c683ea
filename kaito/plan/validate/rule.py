"""Rule, Case, judge: how a kind's table of rules is asked. Pure; the same table serves webhook, planner and `plan`.

A rule is a function over a `Case` that yields what it found. Rules come in two sorts: those that look at the new object
alone, and those that compare it with the old one (immutability; asked on update only).

*Ratcheting*: what the old object violated already, in the same field with the same value, is a warning on update and
never an error; an object that is being deleted violates nothing. So stricter rules of a later version block neither
finalizers nor unrelated edits of what exists.

*What another object may still bring* (nodes that join later, a ConfigMap that is applied next) is a warning at most: a
gate waits for it. Errors are for what no later event can heal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from kaito.api.core import ConfigMap, Node
from kaito.api.meta import ObjectRef, ResourceKind
from kaito.plan.validate.violation import Severity, Violation
from kaito.settings import PlanSettings
from kaito.state.view import Answer

Root = TypeVar("Root")


class Evidence(Protocol):
    """What rules may ask of the cluster; a ClusterView answers it."""

    def is_synced(self, kind: ResourceKind) -> bool: ...

    def nodes(self, match_labels: dict[str, str]) -> tuple[Node, ...]: ...

    def config_map(self, namespace: str, name: str) -> ConfigMap | None: ...

    def is_synced_ref(self, kind: ResourceKind, namespace: str, name: str) -> bool: ...

    def answer(self, root: ObjectRef, key: str) -> Answer | None: ...


class NothingKnown:
    """The evidence of one who sees no cluster: what needs a look at it becomes a warning."""

    def is_synced(self, kind: ResourceKind) -> bool:
        return False

    def nodes(self, match_labels: dict[str, str]) -> tuple[Node, ...]:
        return ()

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        return None

    def is_synced_ref(self, kind: ResourceKind, namespace: str, name: str) -> bool:
        return False

    def answer(self, root: ObjectRef, key: str) -> Answer | None:
        return None


class Found(NamedTuple):
    """What a rule found; the rule's id is added by `judge`."""

    field: str
    value: Any
    message: str
    remedy: str
    severity: Severity = "error"


Findings = Iterator[Found]


@dataclass(frozen=True, slots=True)
class Case(Generic[Root]):
    """`old` is None on create. `version` is the API version that the object was written in, such as `v1beta1`."""

    new: Root
    old: Root | None
    view: Evidence
    settings: PlanSettings
    version: str = "v1beta1"


Check = Callable[[Case[Root]], Iterable[Found]]


@dataclass(frozen=True, slots=True)
class Rule(Generic[Root]):
    """One row of a kind's table. `id` is what users see in brackets; it never changes its meaning.

    `compares`: needs the old object, so it is asked on update only. `admits_only`: concerns writing alone; an object
    that was let in under other settings is not judged by it.
    """

    id: str
    check: Check[Root]
    compares: bool = False
    admits_only: bool = False


def judge(rules: Sequence[Rule[Root]], case: Case[Root]) -> tuple[Violation, ...]:
    """What the rules say of a write, errors first."""
    found = list(_ask(rules, case))
    if case.old is not None:
        before = {_key(item) for item in _ask(rules, replace(case, new=case.old, old=None))}
        found = [item.as_warning() if _key(item) in before else item for item in found]
    return tuple(sorted(found, key=lambda item: not item.is_error))


def _ask(rules: Sequence[Rule[Root]], case: Case[Root]) -> Iterator[Violation]:
    for rule in rules:
        if rule.compares and case.old is None:
            continue
        for found in rule.check(case):
            yield Violation(rule.id, *found)


def _key(violation: Violation) -> tuple[str, str, str]:
    return violation.rule, violation.field, repr(violation.value)

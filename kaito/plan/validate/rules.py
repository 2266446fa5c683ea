"""The form of a rule: what is judged, what comes of it, and how old objects are spared.

*Ratcheting*: what an object already violates may stay as it is: an update is refused only for violations that the old
object does not have. An object that is being deleted is never judged, or it could not end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

from kaito.api.core import ConfigMap, Node
from kaito.api.meta import ResourceKind
from kaito.settings import PlanSettings

Root = TypeVar("Root")


class Facts(Protocol):
    """What rules may ask of the cluster; a ClusterView is one. What is not known makes a warning, not a refusal."""

    def is_synced(self, kind: ResourceKind) -> bool: ...
    def nodes(self, match_labels: dict[str, str]) -> tuple[Node, ...]: ...
    def config_map(self, namespace: str, name: str) -> ConfigMap | None: ...
    def is_synced_ref(self, kind: ResourceKind, namespace: str, name: str) -> bool: ...


class NothingKnown:
    """No cluster to ask: `kaito plan` without one, or a webhook before its first list."""

    def is_synced(self, kind: ResourceKind) -> bool:
        return False

    def nodes(self, match_labels: dict[str, str]) -> tuple[Node, ...]:
        return ()

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        return None

    def is_synced_ref(self, kind: ResourceKind, namespace: str, name: str) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Violation:
    """`rule` is its id, `field` a path, `message` what stands there and what is wrong, `remedy` what to do."""

    rule: str
    field: str
    message: str
    remedy: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.field}: {self.message}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class Subject(Generic[Root]):
    """One object that fits its model, and what is known around it."""

    root: Root
    facts: Facts
    settings: PlanSettings

    @property
    def is_offline(self) -> bool:
        """There is no cluster that could know better."""
        return isinstance(self.facts, NothingKnown)


Found: TypeAlias = Iterator[tuple[str, str, str]]  # field, message, remedy
Judge: TypeAlias = Callable[[Subject[Root]], Found]
Compare: TypeAlias = Callable[[Root, Root, PlanSettings], Found]  # old, new


@dataclass(frozen=True, slots=True)
class Rule(Generic[Root]):
    """Holds for an object at any time."""

    id: str
    judge: Judge[Root]
    severity: Literal["error", "warning"] = "error"


@dataclass(frozen=True, slots=True)
class UpdateRule(Generic[Root]):
    """Holds for a change of an object."""

    id: str
    compare: Compare[Root]


def judge(rules: Sequence[Rule[Root]], subject: Subject[Root]) -> tuple[Violation, ...]:
    """Every violation, in the order of the rules."""
    return tuple(Violation(rule.id, *found, rule.severity) for rule in rules for found in rule.judge(subject))


def judge_update(
    rules: Sequence[Rule[Root]], changes: Sequence[UpdateRule[Root]], old: Subject[Root], new: Subject[Root]
) -> tuple[Violation, ...]:
    """What the change makes worse: violations that the old object does not have, and changes that are not allowed."""
    before = set(judge(rules, old))
    introduced = tuple(found for found in judge(rules, new) if found not in before)
    refused = (
        Violation(rule.id, *found) for rule in changes for found in rule.compare(old.root, new.root, new.settings)
    )
    return (*introduced, *refused)

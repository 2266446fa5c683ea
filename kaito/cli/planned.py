"""Planned: what `kaito plan` knows of one document: what it would lead to, what is wrong with it, what it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from kaito.api.core import CONFIG_MAP, SECRET
from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import Json, ObjectRef
from kaito.api.workspace import Workspace
from kaito.cli.estimate_rows import Row, rows
from kaito.cli.plan_files import Document
from kaito.cli.plan_world import FilesOnly, World
from kaito.cli.prices import Prices
from kaito.plan.actions import Apply, Create, Delete, PatchRoot
from kaito.plan.diff import Change, diff
from kaito.plan.estimate import CONTEXT_TOKENS_DEFAULT
from kaito.plan.merge import last_applied
from kaito.plan.preview import Preview, Step, preview
from kaito.plan.preview_set import preview_set
from kaito.plan.references import Reference, references
from kaito.plan.sizing import Sizing
from kaito.plan.validate import Violation, validate
from kaito.plan.verdict import Failed, Ready, Verdict
from kaito.settings import PlanSettings

State = Literal["there", "missing", "not known"]
WRITTEN = "it is written in the file"
SERVER_OWN = frozenset({"apiVersion", "kind", "status"})
METADATA_OWN = ("labels", "annotations")


@dataclass(frozen=True, slots=True)
class Need:
    """Something that pods ask for, and whether it is there."""

    reference: Reference
    state: State

    @property
    def complaint(self) -> str:
        what = "pods start without it" if self.reference.is_optional else "pods wait for it"
        return f"{self.reference} is missing: {what}"


@dataclass(frozen=True, slots=True)
class Planned:
    """`own`: the document itself against the cluster. `preview` is None for what stands beside the roots."""

    document: Document
    own: Step
    prices: Prices
    root: Any = None
    preview: Preview | None = None
    is_offline: bool = False
    broken: tuple[Violation, ...] = ()  # rules, as the admission webhook judges them
    needs: tuple[Need, ...] = ()

    @property
    def sizings(self) -> tuple[Sizing, ...]:
        """One, or one for each replica of an InferenceSet that stays."""
        if self.preview is None:
            return ()
        found = (self.preview.sizing, *(each.sizing for each in self.preview.replicas))
        return tuple(each for each in found if each is not None)

    @property
    def nodes(self) -> int:
        return sum(each.nodes or 0 for each in self.sizings)

    @property
    def cost_per_hour(self) -> float | None:
        """Of all its nodes; None where a price is not known, or nothing is asked for."""
        priced = [self.prices.of(each.instance_type, each.nodes or 0) for each in self.sizings if each.nodes]
        known = [price for price in priced if price is not None]
        return sum(known) if known and len(known) == len(priced) else None

    @property
    def row(self) -> Row | None:
        """The estimate of a model that is served, of the first replica where there are several."""
        first = next(iter(self.sizings), None)
        if first is None or first.preset is None or first.sku is None or is_tuning(self.root):
            return None
        (row,) = rows(first.preset, [first.sku], first.context_tokens or CONTEXT_TOKENS_DEFAULT, self.prices)
        return row

    @property
    def steps(self) -> tuple[Step, ...]:
        return (self.own, *(self.preview.all_steps if self.preview else ()))

    @property
    def warnings(self) -> tuple[str, ...]:
        errors = self.errors
        told = [each for each in self.broken if not any(error.startswith(f"{each.field}: ") for error in errors)]
        found = [spoken(each) for each in told if not each.is_error]
        found += [each.message for each in self._blocked if not isinstance(each, Failed)]
        found += [need.complaint for need in self.needs if need.state == "missing"]
        return tuple(dict.fromkeys(found))

    @property
    def errors(self) -> tuple[str, ...]:
        """Of the rules; what the planner itself stumbles on is told where no rule says it already."""
        if refused := tuple(spoken(each) for each in self.broken if each.is_error):
            return refused
        found = list(self.preview.errors) if self.preview else []
        found += [self._stumbled(each) for each in self._blocked if isinstance(each, Failed)]
        return tuple(dict.fromkeys(found))

    def _stumbled(self, verdict: Failed) -> str:
        """Without a cluster nobody knows what there is beside the files."""
        is_unknown = self.is_offline and verdict.culprit.kind == CONFIG_MAP.kind
        elsewhere = "; if a cluster has it, name that with --kubeconfig, or give the ConfigMap's file with -f"
        return f"{verdict.message}: {verdict.next_step}{elsewhere if is_unknown else ''}"

    @property
    def is_open(self) -> bool:
        """Whether something is left to do, or to be known."""
        return bool(self._blocked) or any(step.action is not None for step in self.steps)

    @property
    def _blocked(self) -> list[Verdict]:
        previews = (self.preview, *self.preview.replicas) if self.preview else ()
        found = [each.blocked for each in previews if each.blocked is not None]
        return [verdict for verdict in found if not isinstance(verdict, Ready)]


def plan_world(world: World, settings: PlanSettings, prices: Prices, now: datetime) -> list[Planned]:
    """Every document of the world, in order."""
    return [_planned(world, document, settings, prices, now) for document in world.documents]


def with_needs(world: World, planned: Planned) -> Planned:
    """What its pods ask for, as far as the world knows of it."""
    asked = sorted({one for step in planned.steps if step.wanted for one in references(step.wanted)})
    return replace(planned, needs=tuple(Need(one, _state(world, one)) for one in asked))


def asked_for(planned: list[Planned]) -> set[ObjectRef]:
    """All Secrets, ConfigMaps and claims that pods ask for."""
    return {one.ref for each in planned for step in each.steps if step.wanted for one in references(step.wanted)}


def is_tuning(root: Any) -> bool:
    return isinstance(root, Workspace) and root.tuning is not None


def verb_of(step: Step) -> str:
    match step.action:
        case Create():
            return "create"
        case Apply() | PatchRoot():
            return "change"
        case Delete():
            return "delete"
        case _:
            return "keep"


def spoken(violation: Violation) -> str:
    return f"{violation} [{violation.rule}]"


def _planned(world: World, document: Document, settings: PlanSettings, prices: Prices, now: datetime) -> Planned:
    own = _own_step(world, document)
    if not document.is_root:
        return Planned(document, own, prices)
    root, live = world.graph.root(document.ref), world.live.get(document.ref)
    evidence = FilesOnly(world.view) if world.is_offline else world.view
    broken = (
        *_unknown_fields(world, document),
        *validate(world.stored[document.ref], live, evidence, settings),
    )
    if document.kind == INFERENCE_SET:
        found = preview_set(world.graph, document.ref, now, settings)
    else:
        found = preview(world.view, document.ref, now, settings)
    return Planned(document, own, prices, root, found, world.is_offline, broken)


def _unknown_fields(world: World, document: Document) -> Iterator[Violation]:
    for path in world.unknown.get(document.ref, ()):
        yield Violation("schema", path, None, "there is no such field", "correct its name, as `kubectl explain` has it")


def _own_step(world: World, document: Document) -> Step:
    """The document against what the cluster has of it."""
    live = world.live.get(document.ref)
    if live is None:
        return Step(document.ref, Create(document.kind, document.body, WRITTEN))
    changes = _changes(live, document.body, is_secret=document.kind == SECRET)
    if not changes:
        return Step(document.ref, None)
    uid = str(live["metadata"].get("uid", ""))
    return Step(document.ref, Apply(document.kind, document.body, uid, WRITTEN), changes)


def _changes(live: Json, written: Json, *, is_secret: bool) -> tuple[Change, ...]:
    wanted, seen, before = _content(written), _content(live), _content(last_applied(live))
    found = [*diff(wanted, seen), *_gone(before, wanted, seen, "")]
    if is_secret:
        found = [replace(change, wanted=_hidden(change.wanted), seen=_hidden(change.seen)) for change in found]
    return tuple(found)


def _content(body: Json) -> Json:
    """What a user writes of an object: not what the server or the operator adds."""
    metadata = {key: (body.get("metadata") or {}).get(key) or {} for key in METADATA_OWN}
    return {"metadata": metadata} | {k: v for k, v in body.items() if k not in SERVER_OWN | {"metadata"}}


def _gone(before: Json, wanted: Json, seen: Json, path: str) -> Iterator[Change]:
    """What was applied last, is still there, and is not written any more."""
    for key, value in before.items():
        below = f"{path}.{key}" if path else key
        if key not in seen:
            continue
        if key not in wanted:
            yield Change(below, None, seen[key])
        elif isinstance(value, dict) and isinstance(wanted[key], dict) and isinstance(seen[key], dict):
            yield from _gone(value, wanted[key], seen[key], below)


def _hidden(value: Any) -> Any:
    """A Secret's values are not for the screen, nor for the log of a CI run."""
    return None if value is None else f"<{len(str(value))} characters>"


def _state(world: World, reference: Reference) -> State:
    if reference.ref not in world.found:
        return "not known"
    keys = world.found[reference.ref]
    is_there = keys is not None and (not reference.key or reference.key in keys)
    return "there" if is_there else "missing"

"""What `kaito plan` says, for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import yaml

from kaito.api.meta import Json
from kaito.api.names import MADE_AS_ANNOTATION
from kaito.cli.memory_bar import memory_bar
from kaito.cli.plan_report import command, images, summary
from kaito.cli.planned import Planned, verb_of
from kaito.cli.tables import wrapped
from kaito.cli.what_if import WhatIf, comparison
from kaito.plan.actions import Create
from kaito.plan.preview import Preview, Step
from kaito.plan.sizing import Sizing
from kaito.plan.verdict import is_open

INDENT = len("  machines   ")  # of what is said of a fact
SIGNS = {"create": "+", "change": "~", "delete": "-", "keep": "="}
STATES = {"there": "", "missing": "  (missing)", "not known": "  (not in the files)"}


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # libyaml's where PyYAML has it
    """What stands in two places is written in both: an anchor is nothing that one reads."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def report_lines(
    planned: Sequence[Planned], cases: Sequence[WhatIf], *, brief: bool = False, width: int | None = None
) -> Iterator[str]:
    """Roots first, each with what it leads to; then what stands beside them; then the sum.

    Sentences are wrapped to `width` characters where one is given; objects are not.
    """
    for each in planned:
        if each.preview is not None:
            yield from _root_lines(each, cases, brief=brief, width=width)
            yield ""
    beside = [each for each in planned if each.preview is None]
    for each in beside:
        yield from (_step_line(each.own, f"  ({each.document.source})"), *_change_lines(each.own))
    if beside:
        yield ""
    words = ", ".join(f"{number} to {verb}" for verb, number in summary(planned).items())
    nodes = sum(each.nodes for each in planned)
    yield f"{words}; {nodes} {'node' if nodes == 1 else 'nodes'}{_cost(planned)}"


def _root_lines(planned: Planned, cases: Sequence[WhatIf], *, brief: bool, width: int | None) -> Iterator[str]:
    assert planned.preview is not None
    yield f"{planned.document.ref}  ({planned.document.source})"
    for error in planned.errors:
        yield from wrapped(f"  error: {error}", 4, width)
    for warning in planned.warnings:
        yield from wrapped(f"  warning: {warning}", 4, width)
    sizing = next(iter(planned.sizings), None)
    if sizing is not None and is_open(sizing.verdict):
        yield from _facts(planned, sizing, width)
    yield ""
    yield f"  {_step_line(planned.own)}"
    yield from (f"  {line}" for line in _change_lines(planned.own))
    yield from (f"  {line}" for line in _preview_lines(planned.preview, brief=brief))
    if cases and sizing is not None and is_open(sizing.verdict):
        yield ""
        yield from comparison(planned, cases, width)


def _preview_lines(preview: Preview, *, brief: bool) -> Iterator[str]:
    """Its objects, then those of its replicas: the content of the first one, for they are alike."""
    for step in preview.steps:
        yield from _step_lines(step, brief=brief)
    for index, replica in enumerate(preview.replicas):
        yield f"  {replica.root}"
        for line in _preview_lines(replica, brief=brief or index > 0):
            yield f"    {line}"


def _facts(planned: Planned, sizing: Sizing, width: int | None) -> Iterator[str]:
    for line in _sentences(planned, sizing):
        yield from wrapped(f"  {line}", INDENT, width)
    if planned.row is not None:
        for index, line in enumerate(memory_bar(planned.row, width)):
            yield f"  one GPU    {line}" if index == 0 else f"           {line}"
    for line in _runs(planned):
        yield from wrapped(f"  {line}", INDENT, width)


def _sentences(planned: Planned, sizing: Sizing) -> Iterator[str]:
    row = planned.row
    if planned.preview is not None and planned.preview.replicas:
        yield f"replicas   {len(planned.sizings)}, each of them:"
    if sizing.preset is not None:
        yield f"model      {sizing.preset.model_id}, {sizing.preset.weights_gib:.2f} GiB of weights"
    yield f"machines   {_machines(sizing)}"
    yield f"sizing     {sizing.verdict.message}"
    if row is not None and row.estimate is not None:
        yield f"parallel   {sizing.parallelism}"
        yield f"context    {row.estimate.context_tokens} tokens asked, {row.estimate.context_tokens_max} would fit"


def _runs(planned: Planned) -> Iterator[str]:
    if planned.cost_per_hour is not None:
        prices = planned.prices
        yield f"cost       {planned.cost_per_hour:.2f} {prices.currency} an hour (as of {prices.date})"
    yield from (f"image      {image}" for image in images(planned))
    if words := " ".join(command(planned)):
        yield f"command    {words}"
    yield from (f"needs      {need.reference}{STATES[need.state]}" for need in planned.needs)


def _machines(sizing: Sizing) -> str:
    if not sizing.has_machines:
        return "none of its own"
    machine = f"{sizing.nodes} × {sizing.instance_type or 'your own nodes'}"
    if sizing.sku is None:
        return machine
    each = sizing.sku.memory_gib // max(1, sizing.sku.gpus)
    return f"{machine}, each with {sizing.sku.gpus} × {sizing.sku.model} of {each} GiB"


def _step_line(step: Step, after: str = "") -> str:
    reason = f"  ({step.action.reason})" if step.action is not None and not after else after
    return f"{SIGNS[verb_of(step)]} {step.ref}{reason}"


def _step_lines(step: Step, *, brief: bool) -> Iterator[str]:
    yield _step_line(step)
    if brief:
        return
    if isinstance(step.action, Create):
        text = yaml.dump(_shown(step.action.body), Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=100)
        yield from (f"  + {line}" for line in text.splitlines())
    yield from _change_lines(step)


def _shown(body: Json) -> Json:
    """Without the template of the pods packed in an annotation: it stands below in plain words."""
    metadata = body["metadata"]
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != MADE_AS_ANNOTATION}
    return body | {"metadata": metadata | ({"annotations": annotations} if annotations else {})}


def _change_lines(step: Step) -> Iterator[str]:
    yield from (f"  ~ {change}" for change in step.changes)


def _cost(planned: Sequence[Planned]) -> str:
    costs = [each.cost_per_hour for each in planned if each.nodes]
    known = [cost for cost in costs if cost is not None]
    if not known or len(known) != len(costs):
        return ""
    return f", {sum(known):.2f} {planned[0].prices.currency} an hour"

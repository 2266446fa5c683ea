"""What `kaito plan` says of one Workspace: as JSON, and as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from kaito.api.meta import Json
from kaito.cli.estimate_rows import Row, row_json, rows
from kaito.cli.memory_bar import memory_bar
from kaito.cli.prices import Prices
from kaito.plan.actions import Apply, Create, Delete
from kaito.plan.estimate import CONTEXT_TOKENS_DEFAULT
from kaito.plan.preview import Preview, Step
from kaito.plan.sizing import Sizing
from kaito.plan.validate import Violation
from kaito.plan.verdict import Failed, Ready

SIGNS = {"create": "+", "change": "~", "delete": "-", "keep": "="}


@dataclass(frozen=True, slots=True)
class Report:
    """`row` is None where a template is run or where the sizing is not known."""

    preview: Preview
    row: Row | None
    prices: Prices
    broken: tuple[Violation, ...] = ()  # rules, as the admission webhook judges them

    @property
    def warnings(self) -> tuple[str, ...]:
        found = tuple(str(violation) for violation in self.broken if violation.severity == "warning")
        blocked = self.preview.blocked
        is_waiting = blocked is not None and not isinstance(blocked, Failed | Ready)
        return (*found, blocked.message) if blocked is not None and is_waiting else found

    @property
    def errors(self) -> tuple[str, ...]:
        """Of the rules; what the planner itself stumbles on is told where no rule says it already."""
        if refused := tuple(str(violation) for violation in self.broken if violation.severity == "error"):
            return refused
        blocked = self.preview.blocked
        found = self.preview.errors
        return (*found, f"{blocked.message}: {blocked.next_step}") if isinstance(blocked, Failed) else found

    def counts(self) -> dict[str, int]:
        verbs = [verb_of(step) for step in self.preview.steps]
        return {verb: verbs.count(verb) for verb in ("create", "change", "delete")}


def report_of(preview: Preview, prices: Prices, broken: tuple[Violation, ...] = ()) -> Report:
    sizing = preview.sizing
    row = None
    if sizing is not None and sizing.preset is not None and sizing.sku is not None:
        (row,) = rows(sizing.preset, [sizing.sku], sizing.context_tokens or CONTEXT_TOKENS_DEFAULT, prices)
    return Report(preview, row, prices, broken)


def verb_of(step: Step) -> str:
    match step.action:
        case Create():
            return "create"
        case Apply():
            return "change"
        case Delete():
            return "delete"
        case _:
            return "keep"


# JSON.


def report_json(report: Report) -> Json:
    sizing = report.preview.sizing
    return {
        "workspace": str(report.preview.root),
        "sizing": row_json(report.row) if report.row else None,
        "model": sizing.preset.model_id if sizing and sizing.preset else None,
        "nodes": sizing.nodes if sizing else None,
        "context_tokens": sizing.context_tokens if sizing else None,
        "images": images(report),
        "command": command(report),
        "cost_per_hour": report.row.price if report.row else None,
        "objects": [_step_json(step) for step in report.preview.steps],
        "warnings": list(report.warnings),
        "errors": list(report.errors),
        "summary": report.counts(),
    }


def _step_json(step: Step) -> Json:
    found: Json = {"action": verb_of(step), "object": str(step.ref)}
    if step.action is not None:
        found["reason"] = step.action.reason
    if isinstance(step.action, Create):
        found["body"] = step.action.body
    if isinstance(step.action, Apply):
        found["changes"] = [{"path": c.path, "from": c.seen, "to": c.wanted} for c in step.changes]
    return found


def _pod(report: Report) -> Json:
    """The pod template of the workload that is created or changed; empty where it stays as it is."""
    for step in report.preview.steps:
        if isinstance(step.action, Create | Apply) and "template" in step.action.body.get("spec", {}):
            pod: Json = step.action.body["spec"]["template"]["spec"]
            return pod
    return {}


def images(report: Report) -> list[str]:
    pod = _pod(report)
    containers = [*(pod.get("initContainers") or []), *(pod.get("containers") or [])]
    return list(dict.fromkeys(container["image"] for container in containers if container.get("image")))


def command(report: Report) -> list[str]:
    """The server's command with its flags."""
    (first, *_) = _pod(report).get("containers") or [{}]
    return [*(first.get("command") or []), *(first.get("args") or [])]


# Text.


def report_lines(report: Report, *, brief: bool = False) -> Iterator[str]:
    sizing = report.preview.sizing
    yield f"{report.preview.root}"
    for error in report.errors:
        yield f"  error: {error}"
    for warning in report.warnings:
        yield f"  warning: {warning}"
    if sizing is None or not report.preview.steps:
        return
    yield from (f"  {line}" for line in _facts(report, sizing))
    yield ""
    for step in report.preview.steps:
        yield from (f"  {line}" for line in _step_lines(step, brief=brief))
    counts = report.counts()
    yield ""
    yield "  " + ", ".join(f"{number} to {verb}" for verb, number in counts.items())


def _facts(report: Report, sizing: Sizing) -> Iterator[str]:
    row, words = report.row, " ".join(command(report))
    if sizing.preset is not None:
        yield f"model      {sizing.preset.model_id}, {sizing.preset.weights_gib:.2f} GiB of weights"
    machine = f"{sizing.nodes} × {sizing.instance_type or 'your own nodes'}"
    if sizing.sku is not None:
        each = sizing.sku.memory_gib // sizing.sku.gpus
        yield f"machines   {machine}, each with {sizing.sku.gpus} × {sizing.sku.model} of {each} GiB"
    else:
        yield f"machines   {machine}"
    yield f"sizing     {sizing.verdict.message}"
    if row is not None and sizing.context_tokens is None:  # tuning serves nothing: it has no cache to fill
        if cost := report.prices.words(row.sku.name, sizing.nodes or 1):
            yield f"cost       {cost}"
    elif row is not None and row.estimate is not None:
        yield f"parallel   {sizing.parallelism}"
        yield f"context    {row.estimate.context_tokens} tokens asked, {row.estimate.context_tokens_max} would fit"
        first, *others = memory_bar(row)
        yield f"one GPU    {first}"
        yield from (f"         {line}" for line in others)
        if cost := report.prices.words(row.sku.name, row.estimate.nodes):
            yield f"cost       {cost}"
    yield from (f"image      {image}" for image in images(report))
    if words:
        yield f"command    {words}"


def _step_lines(step: Step, *, brief: bool) -> Iterator[str]:
    verb = verb_of(step)
    reason = f"  ({step.action.reason})" if step.action is not None else ""
    yield f"{SIGNS[verb]} {step.ref}{reason}"
    if brief:
        return
    if isinstance(step.action, Create):
        text = yaml.safe_dump(step.action.body, sort_keys=False, default_flow_style=False, width=100)
        yield from (f"    + {line}" for line in text.splitlines())
    for change in step.changes:
        yield f"    ~ {change}"

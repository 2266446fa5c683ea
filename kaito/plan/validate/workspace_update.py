"""Rules of Workspace: what may not change once it is created. Asked on update only, so `old` is there."""

from __future__ import annotations

from typing import Any

from kaito.api.workspace import LabelSelector, Workspace
from kaito.plan.validate.rule import Case, Findings, Found
from kaito.plan.validate.workspace_resource import is_byo

ANEW = "delete the Workspace and create it anew"


def _before(case: Case[Workspace]) -> Workspace:
    assert case.old is not None, "rules that compare are asked on update only"
    return case.old


def section(case: Case[Workspace]) -> Findings:
    old, new = _before(case), case.new
    for name, before, after in (("inference", old.inference, new.inference), ("tuning", old.tuning, new.tuning)):
        if (before is None) != (after is None):
            yield Found(name, None, "cannot be added or removed", ANEW)


def count(case: Case[Workspace]) -> Findings:
    yield from _same("resource.count", _before(case).resource.count, case.new.resource.count)


def partition(case: Case[Workspace]) -> Findings:
    yield from _same("resource.partition", _before(case).resource.partition, case.new.resource.partition)


def label_selector(case: Case[Workspace]) -> Findings:
    """Compared as the labels that it comes to, so that an In expression and a label are the same."""
    before, after = _before(case).resource.label_selector, case.new.resource.label_selector
    if _labels(before) != _labels(after):
        yield from _same("resource.labelSelector", _labels(before), _labels(after))


def instance_type(case: Case[Workspace]) -> Findings:
    """It may be given once, and taken away where users bring their nodes; nothing else."""
    before, after = _before(case).resource.instance_type, case.new.resource.instance_type
    if before == after:
        return
    if is_byo(case):
        if before and after:
            yield Found("resource.instanceType", after, f"cannot change (it was {before!r})", "leave it, or remove it")
    elif before and after:
        yield Found("resource.instanceType", after, f"cannot change (it was {before!r})", ANEW)


def preset(case: Case[Workspace]) -> Findings:
    before, after = _before(case).inference, case.new.inference
    if before is not None and after is not None:
        yield from _same("inference.preset", before.preset, after.preset)


def template(case: Case[Workspace]) -> Findings:
    before, after = _before(case).inference, case.new.inference
    if before is not None and after is not None and (before.template is None) != (after.template is None):
        yield Found("inference.template", None, "cannot be added or removed (its content may change)", ANEW)


def tuning(case: Case[Workspace]) -> Findings:
    before, after = _before(case).tuning, case.new.tuning
    if before is None or after is None:
        return
    yield from _same("tuning.preset", before.preset, after.preset)
    yield from _same("tuning.method", before.method.lower(), after.method.lower())
    yield from _same("tuning.input.name", before.input.name, after.input.name)


def _same(path: str, before: Any, after: Any) -> Findings:
    if before != after:
        yield Found(path, _shown(after), f"cannot change (it was {_shown(before)!r})", ANEW)


def _shown(value: Any) -> Any:
    return value.model_dump(by_alias=True, exclude_defaults=True) if hasattr(value, "model_dump") else value


def _labels(selector: LabelSelector) -> dict[str, Any]:
    expressions = {
        item.key: item.values[0] if len(item.values) == 1 else item.values
        for item in selector.match_expressions
        if item.operator == "In"
    }
    others = {
        f"{item.key} {item.operator}": item.values for item in selector.match_expressions if item.operator != "In"
    }
    return {**selector.match_labels, **expressions, **others}

"""What may change in a Workspace that exists. Ids follow upstream's section on updates."""

from __future__ import annotations

from kaito.api.workspace import Workspace
from kaito.plan.validate.rules import Found, UpdateRule
from kaito.settings import PlanSettings

ANEW = "create a Workspace of another name, or delete this one first"


def _sections(old: Workspace, new: Workspace, _: PlanSettings) -> Found:
    for name in ("inference", "tuning"):
        if (getattr(old, name) is None) != (getattr(new, name) is None):
            yield name, "cannot be added or removed", ANEW


def _resource(old: Workspace, new: Workspace, _: PlanSettings) -> Found:
    before, after = old.resource, new.resource
    if before.count != after.count:
        yield "resource.count", f"{before.count} cannot become {after.count}", ANEW
    if before.partition != after.partition:
        yield "resource.partition", "cannot be changed", ANEW
    if before.label_selector != after.label_selector:
        yield "resource.labelSelector", "cannot be changed", ANEW


def _instance_type(old: Workspace, new: Workspace, settings: PlanSettings) -> Found:
    before, after = old.resource.instance_type, new.resource.instance_type
    if before == after:
        return
    where, what = "resource.instanceType", f"{before!r} cannot become {after!r}"
    if settings.node_provisioner == "byo":
        if after:
            yield where, what, "it may only be removed: this operator provisions no nodes"
    elif before:
        yield where, what, ANEW


def _inference(old: Workspace, new: Workspace, _: PlanSettings) -> Found:
    before, after = old.inference, new.inference
    if before is None or after is None:
        return
    if before.preset != after.preset:
        yield "inference.preset", "cannot be changed", ANEW
    if (before.template is None) != (after.template is None):
        yield "inference.template", "cannot be added or removed; its contents may change", ANEW


def _tuning(old: Workspace, new: Workspace, _: PlanSettings) -> Found:
    before, after = old.tuning, new.tuning
    if before is None or after is None:
        return
    for field in ("preset", "method"):
        if getattr(before, field) != getattr(after, field):
            yield f"tuning.{field}", "cannot be changed", ANEW
    if before.input.name != after.input.name:
        yield "tuning.input.name", f"{before.input.name!r} cannot become {after.input.name!r}", ANEW


RULES: tuple[UpdateRule[Workspace], ...] = (
    UpdateRule("u1", _sections),
    UpdateRule("u2", _resource),
    UpdateRule("u3", _instance_type),
    UpdateRule("u4", _inference),
    UpdateRule("u5", _tuning),
)

"""What `kaito plan` says, for machines: one JSON object for all documents."""

from __future__ import annotations

from collections.abc import Sequence

from kaito.api.core import SECRET
from kaito.api.meta import Json
from kaito.cli.estimate_rows import row_json
from kaito.cli.planned import Planned, verb_of
from kaito.cli.what_if import WhatIf, case_json, cases_of
from kaito.plan.actions import Apply, Create, PatchRoot
from kaito.plan.preview import Step

VERBS = ("create", "change", "delete")


def report_json(planned: Sequence[Planned], cases: Sequence[WhatIf]) -> Json:
    """`cost_per_hour` is null unless every price is known."""
    costs = [each.cost_per_hour for each in planned if each.nodes]
    return {
        "documents": [_document(each, cases) for each in planned],
        "summary": summary(planned),
        "nodes": sum(each.nodes for each in planned),
        "cost_per_hour": None if None in costs or not costs else sum(cost for cost in costs if cost is not None),
    }


def summary(planned: Sequence[Planned]) -> dict[str, int]:
    """How many objects are created, changed and deleted."""
    verbs = [verb_of(step) for each in planned for step in each.steps]
    return {verb: verbs.count(verb) for verb in VERBS}


def _document(planned: Planned, cases: Sequence[WhatIf]) -> Json:
    found: Json = {
        "object": str(planned.document.ref),
        "kind": planned.document.kind.kind,
        "source": planned.document.source,
        "objects": [_step(step) for step in planned.steps],
        "warnings": list(planned.warnings),
        "errors": list(planned.errors),
        "summary": summary([planned]),
    }
    if planned.preview is None:
        return found
    first = next(iter(planned.sizings), None)
    row = planned.row
    return found | {
        "violations": [
            {
                "rule": each.rule,
                "field": each.field,
                "value": each.value,
                "message": each.message,
                "remedy": each.remedy,
                "severity": each.severity,
            }
            for each in planned.broken
        ],
        "sizing": row_json(row) if row else None,
        "reasoning": first.verdict.message if first else "",
        "model": first.preset.model_id if first and first.preset else None,
        "instance_type": first.instance_type if first else "",
        "nodes": planned.nodes if planned.sizings else None,
        "replicas": len(planned.sizings) if planned.preview.sizing is None else 1,
        "context_tokens": first.context_tokens if first else None,
        "images": images(planned),
        "command": command(planned),
        "needs": [
            {"object": str(need.reference.ref), "key": need.reference.key or None, "state": need.state}
            for need in planned.needs
        ],
        "cost_per_hour": planned.cost_per_hour,
        "what_if": [case_json(case) for case in cases_of(planned, cases)] if cases else [],
    }


def _step(step: Step) -> Json:
    found: Json = {"action": verb_of(step), "object": str(step.ref)}
    if step.action is not None:
        found["reason"] = step.action.reason
    if isinstance(step.action, Create) and step.action.kind != SECRET:
        found["body"] = step.action.body
    if isinstance(step.action, Apply | PatchRoot):
        found["changes"] = [{"path": c.path, "from": c.seen, "to": c.wanted} for c in step.changes]
    return found


def pod_of(planned: Planned) -> Json:
    """The pod template of the workload, of the first replica where there are several."""
    for step in planned.steps:
        spec = (step.wanted or {}).get("spec") or {}
        if "template" in spec:
            pod: Json = spec["template"].get("spec") or {}
            return pod
    return {}


def images(planned: Planned) -> list[str]:
    pod = pod_of(planned)
    containers = [*(pod.get("initContainers") or []), *(pod.get("containers") or [])]
    return list(dict.fromkeys(container["image"] for container in containers if container.get("image")))


def command(planned: Planned) -> list[str]:
    """The server's command with its flags."""
    (first, *_) = pod_of(planned).get("containers") or [{}]
    return [*(first.get("command") or []), *(first.get("args") or [])]

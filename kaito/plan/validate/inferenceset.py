"""What an InferenceSet may say (upstream's section 2.3): rules of its own, and those of the Workspaces that it makes.

A replica is judged by the very rules of Workspace, as it would be created; what they find is told of the template.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kaito.api.core import ConfigMap, Node
from kaito.api.inferenceset import InferenceSet, parse_inference_set
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.names import LABEL_LENGTH_MAX, replica_name
from kaito.api.workspace import Workspace, parse_workspace
from kaito.plan.desired.replica import replica
from kaito.plan.validate.common import DNS_LABEL, validate_with
from kaito.plan.validate.rule import Case, Evidence, Findings, Found, NothingKnown, Rule, judge
from kaito.plan.validate.schedule import duration_s, schedule_error
from kaito.plan.validate.violation import Violation, errors_of
from kaito.plan.validate.workspace import PLANNED_RULES, WORKSPACE_RULES
from kaito.settings import PlanSettings
from kaito.state.view import Answer

TEMPLATE_RULES = tuple(rule for rule in WORKSPACE_RULES if rule.id != "name" and not rule.compares)
# Where the template says what a replica says.
PLACES = (
    ("resource.labelSelector", "spec.labelSelector"),
    ("resource", "spec.template.resource"),
    ("inference", "spec.template.inference"),
    ("metadata", "spec.template.metadata"),
)


def _name(case: Case[InferenceSet]) -> Findings:
    given = case.new.metadata.name
    if len(given) > LABEL_LENGTH_MAX or not DNS_LABEL.fullmatch(given):
        why = f"expected lower-case letters, digits and hyphens, a letter first, {LABEL_LENGTH_MAX} at most"
        yield Found("metadata.name", given, why, "create it under another name (a name cannot be changed)")


def _node_count_limit(case: Case[InferenceSet]) -> Findings:
    limit = case.new.spec.node_count_limit
    if limit is not None and limit < 1:
        yield Found("spec.nodeCountLimit", limit, "no node may be used", "raise it, or remove it")


def _template_metadata(case: Case[InferenceSet]) -> Findings:
    for key in ("labels", "annotations"):
        given = case.new.spec.template.metadata.get(key)
        is_texts = isinstance(given, dict) and all(isinstance(value, str) for value in given.values())
        if given is not None and not is_texts:
            yield Found(f"spec.template.metadata.{key}", given, "no map of texts", 'write it as {name: "value"}')


def _maintenance_window(case: Case[InferenceSet]) -> Findings:
    window = case.new.spec.auto_upgrade.maintenance_window if case.new.spec.auto_upgrade else None
    if window is None:
        return
    where = "spec.autoUpgrade.maintenanceWindow"
    if wrong := schedule_error(window.schedule):
        yield Found(f"{where}.schedule", window.schedule, wrong, "write five cron fields, in UTC, such as 0 2 * * 6")
    if not (duration_s(window.duration) or 0) > 0:
        yield Found(f"{where}.duration", window.duration, "no duration above 0", "write it as 4h or 1h30m")


def _partition(case: Case[InferenceSet]) -> Findings:
    assert case.old is not None, "rules that compare are asked on update only"
    before, after = (each.spec.template.resource.partition for each in (case.old, case.new))
    if before != after:
        shown = after.model_dump(by_alias=True, exclude_defaults=True) if after else None
        yield Found(
            "spec.template.resource.partition", shown, "cannot change", "create an InferenceSet of another name"
        )


INFERENCE_SET_RULES: tuple[Rule[InferenceSet], ...] = (
    Rule("name", _name),
    Rule("node-count-limit", _node_count_limit),
    Rule("template-metadata", _template_metadata),
    Rule("maintenance-window", _maintenance_window),
    Rule("partition-immutable", _partition, compares=True),
)


def validate_inference_set(
    new: Json, old: Json | None, view: Evidence, settings: PlanSettings
) -> tuple[Violation, ...]:
    found = validate_with(INFERENCE_SET_RULES, parse_inference_set, new, old, view, settings)
    after, before = parse_inference_set(new), parse_inference_set(old) if old is not None else None
    if isinstance(after, InferenceSet):
        was = replica_of(before) if isinstance(before, InferenceSet) else None
        case = Case(replica_of(after), was, _AsSet(view, after.ref), settings)
        found += tuple(_of_template(each) for each in judge(TEMPLATE_RULES, case))
    return tuple(sorted(found, key=lambda each: not each.is_error))


def template_errors(iset: InferenceSet, settings: PlanSettings) -> tuple[Violation, ...]:
    """What keeps a replica from being created. What needs a look at the cluster is left to the replica's own gates."""
    found = judge(PLANNED_RULES, Case(replica_of(iset), None, NothingKnown(), settings))
    return tuple(_of_template(each) for each in errors_of(found) if each.rule != "name")


def replica_of(iset: InferenceSet) -> Workspace:
    """The first replica, as it would be created."""
    metadata = iset.metadata
    body = replica(iset.ref, metadata.uid, metadata.labels or {}, metadata.annotations or {}, iset)
    body["metadata"]["name"] = replica_name(metadata.namespace, metadata.name, 0)
    found = parse_workspace(body)
    assert isinstance(found, Workspace), "a template that fits its model makes a Workspace that fits its own"
    return found


def _of_template(violation: Violation) -> Violation:
    for inner, outer in PLACES:
        if violation.field == inner or violation.field.startswith((f"{inner}.", f"{inner}[")):
            return replace(violation, field=outer + violation.field.removeprefix(inner))
    return replace(violation, field=f"spec.template.{violation.field}")


@dataclass(frozen=True, slots=True)
class _AsSet:
    """What is known of the InferenceSet's model is known of its replica's."""

    view: Evidence
    ref: ObjectRef

    def is_synced(self, kind: ResourceKind) -> bool:
        return self.view.is_synced(kind)

    def nodes(self, match_labels: dict[str, str]) -> tuple[Node, ...]:
        return self.view.nodes(match_labels)

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        return self.view.config_map(namespace, name)

    def is_synced_ref(self, kind: ResourceKind, namespace: str, name: str) -> bool:
        return self.view.is_synced_ref(kind, namespace, name)

    def answer(self, root: ObjectRef, key: str) -> Answer | None:
        return self.view.answer(self.ref, key)

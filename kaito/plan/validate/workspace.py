"""The rules of Workspace, v1beta1 and v1alpha1. One row each; the functions are in the modules named after sections."""

from __future__ import annotations

from kaito.api.meta import Json
from kaito.api.workspace import Workspace, parse_workspace
from kaito.plan.validate import workspace_config as config
from kaito.plan.validate import workspace_inference as inference
from kaito.plan.validate import workspace_model as model
from kaito.plan.validate import workspace_resource as resource
from kaito.plan.validate import workspace_update as update
from kaito.plan.validate.common import validate_with
from kaito.plan.validate.rule import Case, Evidence, NothingKnown, Rule, judge
from kaito.plan.validate.violation import Violation, errors_of
from kaito.settings import PlanSettings

WORKSPACE_RULES: tuple[Rule[Workspace], ...] = (
    Rule("name", resource.name),
    Rule("inference-xor-tuning", inference.inference_xor_tuning),
    # The machines.
    Rule("instance-type-byo", resource.instance_type_byo, admits_only=True),
    Rule("instance-type-required", resource.instance_type_required),
    Rule("instance-type-known", resource.instance_type_known),
    Rule("label-selector", resource.label_selector),
    Rule("label-selector-reserved", resource.label_selector_reserved),
    Rule("partition-byo", resource.partition_byo),
    Rule("partition-mig", resource.partition_mig),
    Rule("partition-accelerator", resource.partition_accelerator),
    Rule("partition-fits", resource.partition_fits),
    Rule("nodes-found", resource.nodes_found),
    Rule("nodes-gpu-labels", resource.nodes_gpu_labels),
    Rule("nodes-uniform", resource.nodes_uniform),
    Rule("memory", resource.memory),
    Rule("multi-node-transformers", resource.multi_node_transformers),
    # Annotations.
    Rule("node-image-family", resource.node_image_family),
    Rule("node-class-name", resource.node_class_name),
    Rule("performance-mode", inference.performance_mode),
    Rule("use-local-weights", inference.use_local_weights),
    Rule("runtime", inference.runtime),
    Rule("container-resources", inference.container_resources),
    # Serving.
    Rule("preset-xor-template", inference.preset_xor_template),
    Rule("preset-deprecated", inference.preset_deprecated),
    Rule("preset-known", inference.preset_known),
    Rule("model-lookup", model.lookup, admits_only=True),
    Rule("model-access-secret", model.access, admits_only=True),
    Rule("model-streaming", model.streaming),
    Rule("adapters-max", inference.adapters_max),
    Rule("adapter-names", inference.adapter_names),
    Rule("adapter-source", inference.adapter_source),
    Rule("adapter-strength", inference.adapter_strength),
    Rule("adapter-strength-vllm", inference.adapter_strength_vllm),
    Rule("inference-config", config.inference_config),
    # Fine-tuning.
    Rule("tuning-machines", config.tuning_machines),
    Rule("tuning-method", config.tuning_method),
    Rule("tuning-preset", config.tuning_preset),
    Rule("tuning-input", config.tuning_input),
    Rule("tuning-output", config.tuning_output),
    Rule("tuning-config", config.training_config),
    # What may change.
    Rule("section-immutable", update.section, compares=True),
    Rule("count-immutable", update.count, compares=True),
    Rule("partition-immutable", update.partition, compares=True),
    Rule("label-selector-immutable", update.label_selector, compares=True),
    Rule("instance-type-immutable", update.instance_type, compares=True),
    Rule("preset-immutable", update.preset, compares=True),
    Rule("template-immutable", update.template, compares=True),
    Rule("tuning-immutable", update.tuning, compares=True),
)
STRUCTURAL_RULES = tuple(
    rule
    for rule in WORKSPACE_RULES
    if rule.id
    in (
        "inference-xor-tuning",
        "preset-xor-template",
        "adapter-names",
        "adapter-source",
        "container-resources",
        "tuning-machines",
        "tuning-method",
        "tuning-preset",
        "tuning-input",
        "tuning-output",
    )
)
PLANNED_RULES = tuple(rule for rule in WORKSPACE_RULES if not rule.admits_only and not rule.compares)


def validate_workspace(new: Json, old: Json | None, view: Evidence, settings: PlanSettings) -> tuple[Violation, ...]:
    return validate_with(WORKSPACE_RULES, parse_workspace, new, old, view, settings)


def standing_errors(ws: Workspace, view: Evidence, settings: PlanSettings) -> tuple[Violation, ...]:
    """What would be refused today of a Workspace that was let in and planned before: told, and never acted on."""
    return errors_of(judge(PLANNED_RULES, Case(ws, None, view, settings)))


def planned_errors(ws: Workspace, settings: PlanSettings, *, is_decided: bool) -> tuple[Violation, ...]:
    """The errors that keep a Workspace from being planned. What needs a look at the cluster is left to the gates.

    `is_decided`: it has been let in and planned before, so only what makes no plan at all counts.
    """
    rules = STRUCTURAL_RULES if is_decided else PLANNED_RULES
    return errors_of(judge(rules, Case(ws, None, NothingKnown(), settings)))

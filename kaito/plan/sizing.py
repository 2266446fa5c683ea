"""How many nodes a Workspace needs and what each pod gets, with the reasoning in words; or why that is not known.

The number is decided once: `status.targetNodeCount`, when it is set, is kept (a changed catalogue must not resize what
runs); only until the first workload is created does a new context length or instance type make it a new question. The
rules that a new Workspace must pass are asked only until it is set, for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from kaito.api.core import CONFIG_MAP
from kaito.api.meta import Json
from kaito.api.names import (
    BYPASS_RESOURCE_CHECKS_ANNOTATION,
    RUNTIME_ANNOTATION,
)
from kaito.api.workspace import Workspace
from kaito.plan.catalog import (
    Preset,
    Sku,
    find_preset,
    model_status,
)
from kaito.plan.choice import chosen_type
from kaito.plan.desired.template_workload import requested_devices
from kaito.plan.estimate import (
    CONTEXT_TOKENS_DEFAULT,
    DoesNotFit,
    Estimate,
    Parallelism,
    estimate_nodes,
    parallelism,
)
from kaito.plan.inference_config import KEY as CONFIG_KEY
from kaito.plan.inference_config import context_asked
from kaito.plan.machine import judge_machine
from kaito.plan.memo import Memo
from kaito.plan.model import GATE, judge_model, model_inputs, preset_asked
from kaito.plan.placement import GPU_RESOURCE
from kaito.plan.roots import RootMeta
from kaito.plan.tuning_memory import memory_need_gib
from kaito.plan.validate.tuning import CONFIG_KEY as TUNING_CONFIG_KEY
from kaito.plan.validate.tuning import config_errors, method_of
from kaito.plan.validate.violation import Violation
from kaito.plan.validate.workspace import planned_errors, standing_errors
from kaito.plan.verdict import LOOKING_UP, Failed, Ready, Verdict, Waiting
from kaito.settings import PlanSettings
from kaito.state.edges import selector_of
from kaito.state.view import ClusterView

TEMPLATE_STORAGE_GIB = 1024


@dataclass(frozen=True, slots=True)
class Sizing:
    """`nodes` is None until it is known, 0 for a root without machines of its own. `verdict`: how it came about, or
    what is missing. `preferred`: names of nodes to be taken first.
    """

    verdict: Verdict
    instance_type: str = ""
    match_labels: dict[str, str] = field(default_factory=dict)
    preferred: tuple[str, ...] = ()
    nodes: int | None = None
    context_tokens: int | None = None  # that the node count was computed for
    preset: Preset | None = None  # None: the root brings a template, or embeds
    hub_model: Json | None = None  # `status.model`, where the hub told of the preset
    broken: tuple[Violation, ...] = ()  # rules that a Workspace which was planned before would not pass today
    sku: Sku | None = None
    parallelism: Parallelism = field(default_factory=Parallelism)
    gpu_resource: str = GPU_RESOURCE
    gpus_per_pod: int = 0
    storage_gib: int = TEMPLATE_STORAGE_GIB

    @property
    def has_machines(self) -> bool:
        """Whether the root has, or will have, machines of its own."""
        return self.nodes != 0


def size_workspace(view: ClusterView, root: RootMeta, ws: Workspace, settings: PlanSettings) -> Sizing:
    """The sizing of a Workspace."""

    def sized() -> Sizing:
        try:
            found = _size(view, root, ws, settings)
        except _Stopped as stop:
            found = _blank(view, root, ws, settings, stop.verdict, target_of(root))
        is_told = target_of(root) is None or isinstance(found.verdict, Failed)
        return found if is_told else replace(found, broken=standing_errors(ws, view, settings))

    return _sized.get((root.uid, root.ref), _inputs(view, root, ws, settings), sized)


_sized: Memo[Sizing] = Memo()


def _inputs(view: ClusterView, root: RootMeta, ws: Workspace, settings: PlanSettings) -> tuple[Any, ...]:
    """All that a sizing depends on."""
    section = ws.inference or ws.tuning
    names = [(settings.release_namespace, settings.sku_config_map)]
    names += [(root.ref.namespace, section.config)] if section and section.config else []
    return (
        (ws.resource, ws.inference, ws.tuning),
        (root.labels, root.annotations),
        (target_of(root), _decided_for(root), root.status.get("state")),
        [(view.config_map(*name), view.is_synced_ref(CONFIG_MAP, *name)) for name in names],
        view.stateful_set(root.ref) is not None,
        view.nodes(selector_of(ws)) if settings.node_provisioner == "byo" else (),
        model_inputs(view, root, ws),
        settings,
    )


class _Stopped(Exception):
    """Something is missing: the verdict that says what."""

    def __init__(self, verdict: Waiting | Failed) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


def target_of(root: RootMeta) -> int | None:
    """The node count that was decided before, None while there is none."""
    count = root.status.get("targetNodeCount")
    return count if isinstance(count, int) and count > 0 else None


def _size(view: ClusterView, root: RootMeta, ws: Workspace, settings: PlanSettings) -> Sizing:
    if wrong := planned_errors(ws, settings, is_decided=target_of(root) is not None):
        step = "correct the named fields: " + f"kubectl edit workspace {root.ref.name} -n {root.ref.namespace}"
        raise _Stopped(_failed(root, "InvalidWorkspace", "; ".join(map(str, wrong)), step))
    if ws.inference is None:
        return _of_tuning(view, root, ws, settings)
    if ws.inference.template is not None:
        return _of_template(view, root, ws, settings)
    preset = _preset(view, root, ws, settings)
    sku = _sku(view, root, ws, settings)
    nodes, context_tokens, why = _decide(view, root, ws, preset, sku)
    if nodes > 1 and target_of(root) is None and root.annotations.get(RUNTIME_ANNOTATION) == "transformers":
        message = f"{preset.name} needs {nodes} nodes of {sku.name}, and the transformers runtime serves on one only"
        step = f"choose an instance type with more GPU memory, or remove the annotation {RUNTIME_ANNOTATION}"
        raise _Stopped(_failed(root, "ModelDoesNotFit", message, step))
    shape = parallelism(preset, sku, nodes)
    return replace(
        _blank(view, root, ws, settings, Ready(GATE, why, root.ref), nodes),
        context_tokens=context_tokens,
        preset=preset,
        hub_model=_hub_model(ws, preset),
        sku=sku,
        parallelism=shape,
        gpu_resource=sku.resource,
        gpus_per_pod=sku.gpus,
        storage_gib=preset.disk_gib,
    )


def _decide(view: ClusterView, root: RootMeta, ws: Workspace, preset: Preset, sku: Sku) -> tuple[int, int | None, str]:
    """Nodes, the context that they were computed for, and the reasoning.

    What was decided before stands, whatever the estimate says today; but while nothing runs, a change of what the user
    asks for (context or instance type) is a new question.
    """
    decided, decided_for = target_of(root), _decided_for(root)
    if decided is None:
        estimate = _estimate(root, preset, sku, _context_tokens(view, root, ws))
        return estimate.nodes, estimate.context_tokens, estimate.reasoning
    try:
        estimate = _estimate(root, preset, sku, _context_tokens(view, root, ws))
    except _Stopped:
        if decided_for[1] and _is_asked_anew(view, root):
            raise
        return decided, decided_for[1], f"{decided} nodes, as decided when the Workspace was new"
    asked = (_type(view, root, ws), estimate.context_tokens)
    if estimate.nodes == decided or (decided_for[1] and asked != decided_for and _is_asked_anew(view, root)):
        return estimate.nodes, estimate.context_tokens, estimate.reasoning
    why = f"{decided} nodes, as decided when the Workspace was new; today: {estimate.reasoning}"
    if decided_for[1] and asked != decided_for:
        why += f"; to get {estimate.nodes} nodes, create the Workspace anew"
    return decided, decided_for[1], why


def _decided_for(root: RootMeta) -> tuple[str, int | None]:
    """Instance type and context for which the node count was decided; no context where an upstream KAITO decided."""
    return str(root.status.get("instanceType") or ""), root.status.get("contextTokens")


def _is_asked_anew(view: ClusterView, root: RootMeta) -> bool:
    """Whether the node count may still change: nothing runs, and nothing ever did."""
    return view.stateful_set(root.ref) is None and root.status.get("state") in (None, "", "Pending")


def _blank(
    view: ClusterView,
    root: RootMeta,
    ws: Workspace,
    settings: PlanSettings,
    verdict: Verdict,
    nodes: int | None,
) -> Sizing:
    instance_type = "" if settings.node_provisioner == "byo" else _type(view, root, ws)
    return Sizing(verdict, instance_type, selector_of(ws), ws.resource.preferred_nodes, nodes)


def _of_template(view: ClusterView, root: RootMeta, ws: Workspace, settings: PlanSettings) -> Sizing:
    nodes = target_of(root) or ws.resource.count or 1
    template = ws.inference.template if ws.inference else {}
    gpus = requested_devices(template or {}, GPU_RESOURCE)
    why = f"{nodes} nodes (resource.count), {gpus} {GPU_RESOURCE} per pod of the template"
    return replace(_blank(view, root, ws, settings, Ready(GATE, why, root.ref), nodes), gpus_per_pod=gpus)


def _of_tuning(view: ClusterView, root: RootMeta, ws: Workspace, settings: PlanSettings) -> Sizing:
    """One node, and whether one copy of the model with all that is trained on it fits its GPUs."""
    _check_tuning_config(view, root, ws)
    preset, sku = _preset(view, root, ws, settings), _sku(view, root, ws, settings)
    need_gib, method = memory_need_gib(preset, method_of(ws)), method_of(ws)
    if need_gib > sku.memory_gib and BYPASS_RESOURCE_CHECKS_ANNOTATION not in root.annotations:
        message = f"{method} of {preset.name} needs {need_gib:.0f} GiB of GPU memory, {sku.name} has {sku.memory_gib}"
        step = "choose an instance type with more GPU memory" + (", or method qlora" if method == "lora" else "")
        raise _Stopped(_failed(root, "ModelDoesNotFit", message, step))
    why = f"1 node: {method} of {preset.name} needs {need_gib:.0f} of {sku.memory_gib} GiB"
    return replace(
        _blank(view, root, ws, settings, Ready(GATE, why, root.ref), 1),
        preset=preset,
        hub_model=_hub_model(ws, preset),
        sku=sku,
        gpu_resource=sku.resource,
        gpus_per_pod=sku.gpus,
        storage_gib=preset.disk_gib,
    )


def _check_tuning_config(view: ClusterView, root: RootMeta, ws: Workspace) -> None:
    name = ws.tuning.config if ws.tuning else ""
    if name and (wrong := config_errors(_config_map(view, root, name, "tuning", TUNING_CONFIG_KEY), method_of(ws))):
        step = f"correct it: kubectl edit configmap {name} -n {root.ref.namespace}"
        ref = CONFIG_MAP.ref(root.ref.namespace, name)
        raise _Stopped(Failed(GATE, "InvalidTrainingConfig", "; ".join(wrong), ref, step))


def _preset(view: ClusterView, root: RootMeta, ws: Workspace, settings: PlanSettings) -> Preset:
    found = judge_model(view, root, ws, settings)
    if isinstance(found, Preset):
        return found
    raise _Stopped(found)


def _hub_model(ws: Workspace, preset: Preset) -> Json | None:
    """What to write down of a model that is not ours to look up again; None for one of the catalogue."""
    asked = preset_asked(ws)
    return model_status(asked.name, preset) if asked and find_preset(asked.name) != preset else None


def _sku(view: ClusterView, root: RootMeta, ws: Workspace, settings: PlanSettings) -> Sku:
    found = judge_machine(view, root, ws, _type(view, root, ws), settings)
    if isinstance(found, Sku):
        return found
    raise _Stopped(found)


def _type(view: ClusterView, root: RootMeta, ws: Workspace) -> str:
    return chosen_type(root, ws, is_running=view.stateful_set(root.ref) is not None)


def _estimate(root: RootMeta, preset: Preset, sku: Sku, context_tokens: int) -> Estimate:
    try:
        return estimate_nodes(preset, sku, context_tokens=context_tokens)
    except DoesNotFit as error:
        step = "choose an instance type with more GPU memory, or a smaller model or max-model-len"
        raise _Stopped(_failed(root, "ModelDoesNotFit", str(error), step)) from error


def _context_tokens(view: ClusterView, root: RootMeta, ws: Workspace) -> int:
    """`max-model-len` of the ConfigMap's `vllm` section, where there is one."""
    name = ws.inference.config if ws.inference else ""
    if not name:
        return CONTEXT_TOKENS_DEFAULT
    return context_asked(_config_map(view, root, name, "inference", CONFIG_KEY)) or CONTEXT_TOKENS_DEFAULT


def _config_map(view: ClusterView, root: RootMeta, name: str, section: str, key: str) -> str:
    """What the ConfigMap that a section names has under the key; empty where it has nothing there."""
    ref = CONFIG_MAP.ref(root.ref.namespace, name)
    found = view.config_map(root.ref.namespace, name)
    if found is None:
        if not view.is_synced_ref(CONFIG_MAP, root.ref.namespace, name):
            raise _Stopped(Waiting(GATE, "ConfigMapUnknown", f"ConfigMap {name} is being looked up", ref, LOOKING_UP))
        step = f"create ConfigMap {name} with the key {key}, or remove {section}.config"
        raise _Stopped(Failed(GATE, "ConfigMapNotFound", f"{section}.config: there is no ConfigMap {name}", ref, step))
    return found.data.get(key, "")


def _failed(root: RootMeta, reason: str, message: str, step: str) -> Failed:
    return Failed(GATE, reason, message, root.ref, step)

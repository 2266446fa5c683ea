"""What a Workspace may say. Ids are the numbers of upstream's rules; `name` and `labels` are checked for all kinds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

from kaito.api.core import CONFIG_MAP
from kaito.api.names import (
    BYPASS_RESOURCE_CHECKS_ANNOTATION,
    CONTAINER_RESOURCES_ANNOTATION,
    NODE_IMAGE_FAMILY_ANNOTATION,
    PERFORMANCE_MODE_ANNOTATION,
    RUNTIME_ANNOTATION,
    USE_LOCAL_WEIGHTS_ANNOTATION,
)
from kaito.api.workspace import Partition, ResourceSpec, Workspace
from kaito.plan.catalog import (
    DEPRECATED,
    SKU_FILE_KEY,
    Sku,
    find_preset,
    find_sku,
    parse_skus,
    similar_presets,
    similar_skus,
)
from kaito.plan.estimate import CONTEXT_TOKENS_DEFAULT, DoesNotFit, estimate_nodes
from kaito.plan.pods.resources import asked_resources
from kaito.plan.validate.common import choose, name_rule, selector_rules
from kaito.plan.validate.inference_config import config_rule
from kaito.plan.validate.rules import Found, Rule, Subject
from kaito.plan.validate.tuning import tuning_errors

Asked: TypeAlias = Subject[Workspace]

ADAPTERS_MAX = 10
IMAGE_FAMILIES = ("azurelinux", "ubuntu")
PERFORMANCE_MODES = ("balanced", "interactivity", "throughput")
RUNTIMES = ("vllm", "transformers")
# Azure has more VM families than any table. Upstream takes these unseen, and then does not know their memory; here they
# are taken for templates, which say themselves how many GPUs they need.
AZURE_FAMILIES = ("standard_n", "standard_d")
MIG_PROFILES = {
    1: (5, 6, 10, 12, 18, 20, 23, 24, 35, 45),
    2: (10, 12, 20, 24, 35, 45),
    3: (20, 40, 47, 48, 71, 90),
    4: (20, 24, 40, 47, 48, 71, 90),
    7: (40, 80, 94, 96, 141, 180),
}
MIG_PROFILE = re.compile(r"^(\d+)g\.(\d+)gb$")


def _one_section(s: Asked) -> Found:
    ws = s.root
    if (ws.inference is None) == (ws.tuning is None):
        what = "neither is given" if ws.inference is None else "both are given"
        yield "inference, tuning", what, "give the Workspace exactly one of the two sections"


def _instance_type(s: Asked) -> Found:
    name, is_byo = s.root.resource.instance_type, s.settings.node_provisioner == "byo"
    if is_byo and name:
        yield (
            "resource.instanceType",
            f"{name!r}, but this operator provisions no nodes",
            "leave it out and label your own nodes as resource.labelSelector says",
        )
    if not is_byo and not name:
        yield "resource.instanceType", "missing", "name the instance type of the nodes (see `kaito estimate`)"


def _annotations(s: Asked) -> Found:
    given = s.root.metadata.annotations or {}
    family = given.get(NODE_IMAGE_FAMILY_ANNOTATION)
    if family is not None and family.strip().lower() not in IMAGE_FAMILIES:
        yield _annotation(NODE_IMAGE_FAMILY_ANNOTATION), repr(family), f"choose one of {', '.join(IMAGE_FAMILIES)}"
    for key, choices in (
        (PERFORMANCE_MODE_ANNOTATION, PERFORMANCE_MODES),
        (USE_LOCAL_WEIGHTS_ANNOTATION, ("true", "false")),
        (RUNTIME_ANNOTATION, RUNTIMES),
    ):
        if key in given and given[key] not in choices:
            yield _annotation(key), repr(given[key]), f"choose one of {', '.join(choices)}"
    try:
        asked_resources(given.get(CONTAINER_RESOURCES_ANNOTATION, ""))
    except ValueError as error:
        step = 'write it as {"requests": {"cpu": "8"}, "limits": {"memory": "64Gi"}}'
        yield _annotation(CONTAINER_RESOURCES_ANNOTATION), str(error), step


def _annotation(key: str) -> str:
    return f"metadata.annotations[{key}]"


def _model(s: Asked) -> Found:
    """Rules 6, 17, 26: the model is known, or may be a hub's."""
    for section, field in ((s.root.inference, "inference"), (s.root.tuning, "tuning")):
        preset = section.preset if section else None
        if preset is None:
            continue
        name, where = preset.name, f"{field}.preset.name"
        if name.lower() in DEPRECATED:
            yield where, f"{name!r} is deprecated and no longer supported", choose("model", (), "kaito preset list")
        elif find_preset(name) is None and not _may_be_hubs(name):
            yield (
                where,
                f"{name!r} is not in the catalogue",
                choose("model", similar_presets(name), "kaito preset list") + ", or name org/model of the hub",
            )


def _may_be_hubs(name: str) -> bool:
    organisation, slash, model = name.partition("/")
    return bool(organisation and slash and model)


def _preset_or_template(s: Asked) -> Found:
    inference = s.root.inference
    if inference is not None and (inference.preset is None) == (inference.template is None):
        what = "neither is given" if inference.preset is None else "both are given"
        yield "inference.preset, inference.template", what, "give exactly one of the two"


def _partition(s: Asked) -> Found:
    partition, where = s.root.resource.partition, "resource.partition"
    if partition is None:
        return
    if s.settings.node_provisioner != "byo":
        step = "leave it out, or run the operator with --node-provisioner byo"
        yield where, "GPUs are only divided on nodes that you bring", step
    elif partition.mode == "mig":
        yield from _mig(partition, where)
    else:
        if partition.profile:
            yield f"{where}.profile", f"{partition.profile!r} with mode accelerator", "leave it out: it is MIG's"
        if partition.count is None:
            yield f"{where}.count", "missing with mode accelerator", "say how many accelerators of the node to use"


def _mig(partition: Partition, where: str) -> Found:
    if partition.count is not None:
        yield f"{where}.count", f"{partition.count} with mode mig", "leave it out: a pod gets one slice"
    match = MIG_PROFILE.match(partition.profile)
    if match is None or int(match[2]) not in MIG_PROFILES.get(int(match[1]), ()):
        yield f"{where}.profile", f"{partition.profile!r} is no MIG profile", "name one, such as 1g.10gb"


def _known_type(s: Asked) -> Found:
    """Rule 14. What the user's own file names is known; a file that is not known yet refuses nothing."""
    name, settings = s.root.resource.instance_type, s.settings
    if not name or settings.node_provisioner == "byo" or _sku(s) is not None:
        return
    namespace, file = settings.release_namespace, settings.sku_config_map
    is_azures = settings.cloud_provider == "azure" and name.lower().startswith(AZURE_FAMILIES)
    if is_azures and s.root.inference is not None and s.root.inference.template is not None:
        return
    if not s.is_offline and not s.facts.is_synced_ref(CONFIG_MAP, namespace, file):
        return
    yield (
        "resource.instanceType",
        f"{name!r} is not known on {settings.cloud_provider}",
        choose("instance type", similar_skus(settings.cloud_provider, name), "kaito estimate")
        + f", or describe it in ConfigMap {file} of namespace {namespace}",
    )


def _sku(s: Asked) -> Sku | None:
    name = s.root.resource.instance_type
    found = s.facts.config_map(s.settings.release_namespace, s.settings.sku_config_map)
    try:
        own = parse_skus(found.data.get(SKU_FILE_KEY, "")) if found else {}
    except ValueError:
        own = {}
    return own.get(name.lower()) or find_sku(s.settings.cloud_provider, name)


def _fits(s: Asked) -> Found:
    """Rules 15 and 16: some number of such nodes holds the model."""
    inference = s.root.inference
    preset = find_preset(inference.preset.name) if inference and inference.preset else None
    sku = _sku(s)
    if preset is None or sku is None or BYPASS_RESOURCE_CHECKS_ANNOTATION in (s.root.metadata.annotations or {}):
        return
    try:
        nodes = estimate_nodes(preset, sku, context_tokens=CONTEXT_TOKENS_DEFAULT).nodes
    except DoesNotFit as error:
        yield "resource.instanceType", str(error), "choose an instance type with more GPU memory, or a smaller model"
        return
    if nodes > 1 and _is_transformers(s):
        yield (
            f"metadata.annotations[{RUNTIME_ANNOTATION}]",
            f"{preset.name} needs {nodes} nodes of {sku.name}, and transformers serves from one",
            "leave the annotation out, or choose an instance type that holds the model alone",
        )


def _is_transformers(s: Asked) -> bool:
    return (s.root.metadata.annotations or {}).get(RUNTIME_ANNOTATION) == "transformers"


def _adapters(s: Asked) -> Found:
    adapters = s.root.inference.adapters if s.root.inference else ()
    if len(adapters) > ADAPTERS_MAX:
        yield "inference.adapters", f"{len(adapters)} of them", f"give at most {ADAPTERS_MAX}"
    names = Counter(adapter.source.name for adapter in adapters if adapter.source)
    for name in sorted(name for name, count in names.items() if name and count > 1):
        yield "inference.adapters", f"two are called {name!r}", "give each source a name of its own"
    for index, adapter in enumerate(adapters):
        where, source = f"inference.adapters[{index}]", adapter.source
        if source is None or not source.name or bool(source.image) == bool(source.volume_source):
            what = "expected a name and one of image and volumeSource"
            yield f"{where}.source", what, "name it and say where it comes from"
        if adapter.strength:
            yield from _strength(s, where, adapter.strength)


def _strength(s: Asked, where: str, text: str) -> Found:
    try:
        is_share = 0.0 <= float(text) <= 1.0
    except ValueError:
        is_share = False
    if not is_share:
        yield f"{where}.strength", repr(text), "give a number from 0 to 1"
    elif not _is_transformers(s):
        step = f"leave it out, or set the annotation {RUNTIME_ANNOTATION}: transformers"
        yield f"{where}.strength", f"{text!r}, which vLLM cannot apply", step


def _tuning(s: Asked) -> Found:
    for line in tuning_errors(s.root):
        field, _, message = line.partition(": ")
        yield field, message, "correct it"


def _name(s: Asked) -> Found:
    return name_rule(s.root.metadata.name)


def _of_resource(judge: Callable[[ResourceSpec, str], Found]) -> Callable[[Asked], Found]:
    def rule(s: Asked) -> Found:
        return judge(s.root.resource, "resource")

    return rule


# What the object says of itself. The planner asks these too, of a Workspace that is new to it; what concerns catalogue,
# machines and ConfigMaps it finds out while sizing, with a reason of its own for each.
SHAPE: tuple[Rule[Workspace], ...] = (
    Rule("name", _name),
    Rule("1", _one_section),
    Rule("2", _instance_type),
    Rule("3-4", _annotations),
    *(Rule(id_, _of_resource(judge)) for id_, judge in selector_rules()),
    Rule("9-13", _partition),
    Rule("17", _preset_or_template),
    Rule("19-21", _adapters),
    Rule("24-28", _tuning),
)
RULES: tuple[Rule[Workspace], ...] = (
    *SHAPE,
    Rule("6-17", _model),
    Rule("14", _known_type),
    Rule("15-16", _fits),
    Rule("22", config_rule),
)

"""Rules of Workspace: what is served, and the annotations that say how."""

from __future__ import annotations

import math
from collections.abc import Iterator

from kaito.api.names import (
    CONTAINER_RESOURCES_ANNOTATION,
    PERFORMANCE_MODE_ANNOTATION,
    RUNTIME_ANNOTATION,
    USE_LOCAL_WEIGHTS_ANNOTATION,
)
from kaito.api.workspace import PresetSpec, Workspace
from kaito.plan.catalog import DEPRECATED, find_preset, is_hub_name, similar_presets
from kaito.plan.pods.resources import asked_resources
from kaito.plan.validate.rule import Case, Findings, Found
from kaito.plan.validate.tuning import source_errors
from kaito.plan.validate.workspace_resource import DNS_SUBDOMAIN, annotation, annotation_path, is_transformers

ADAPTERS_MAX = 10
PERFORMANCE_MODES = ("balanced", "interactivity", "throughput")
RUNTIMES = ("vllm", "transformers")


def inference_xor_tuning(case: Case[Workspace]) -> Findings:
    ws = case.new
    if (ws.inference is None) == (ws.tuning is None):
        is_both = ws.inference is not None
        why = "both are given" if is_both else "neither is given"
        yield Found("inference, tuning", None, why, "give exactly one of the two sections")


def performance_mode(case: Case[Workspace]) -> Findings:
    yield from _one_of(case, PERFORMANCE_MODE_ANNOTATION, PERFORMANCE_MODES)


def use_local_weights(case: Case[Workspace]) -> Findings:
    yield from _one_of(case, USE_LOCAL_WEIGHTS_ANNOTATION, ("true", "false"))


def runtime(case: Case[Workspace]) -> Findings:
    """Upstream takes any other word for vllm; we do too, and say so."""
    given = annotation(case, RUNTIME_ANNOTATION)
    if given is not None and given not in RUNTIMES:
        why = "no known runtime; vllm is used"
        yield Found(annotation_path(RUNTIME_ANNOTATION), given, why, f"use one of {', '.join(RUNTIMES)}", "warning")


def container_resources(case: Case[Workspace]) -> Findings:
    given = annotation(case, CONTAINER_RESOURCES_ANNOTATION)
    try:
        asked_resources(given or "")
    except ValueError as error:
        remedy = 'write it as {"requests": {"cpu": "8"}, "limits": {"memory": "64Gi"}}'
        yield Found(annotation_path(CONTAINER_RESOURCES_ANNOTATION), None, str(error), remedy)


def preset_xor_template(case: Case[Workspace]) -> Findings:
    inference = case.new.inference
    if inference is None or (inference.preset is None) != (inference.template is None):
        return
    why = "both preset and template are given" if inference.preset else "neither preset nor template is given"
    yield Found("inference", None, why, "give it one of the two")


def preset_deprecated(case: Case[Workspace]) -> Findings:
    for path, preset in presets_of(case.new):
        if preset.name.lower() in DEPRECATED:
            yield Found(path, preset.name, "is deprecated and no longer supported", "see `kaito preset list`")


def preset_known(case: Case[Workspace]) -> Findings:
    """A name of the catalogue, an alias, or org/model of the hub."""
    for path, preset in presets_of(case.new):
        is_other = preset.name.lower() in DEPRECATED or is_hub_name(preset.name)
        if is_other or find_preset(preset.name) is not None:
            continue
        similar = ", ".join(similar_presets(preset.name))
        remedy = (f"did you mean {similar}? " if similar else "") + "see `kaito preset list`, or give org/model"
        yield Found(path, preset.name, "is not in the catalogue", remedy)


def adapters_max(case: Case[Workspace]) -> Findings:
    count = len(case.new.inference.adapters) if case.new.inference else 0
    if count > ADAPTERS_MAX:
        yield Found("inference.adapters", count, f"more than {ADAPTERS_MAX} adapters", "drop the ones not needed")


def adapter_names(case: Case[Workspace]) -> Findings:
    seen: set[str] = set()
    for index, adapter in enumerate(case.new.inference.adapters if case.new.inference else ()):
        given = adapter.source.name if adapter.source else ""
        path = f"inference.adapters[{index}].source.name"
        if not given:
            yield Found(path, None, "a name is needed: it is the adapter's model name", "name the adapter")
        elif not DNS_SUBDOMAIN.fullmatch(given) or len(given) > 253:
            yield Found(path, given, "no DNS-1123 subdomain", "use lower-case letters, digits, hyphens and dots")
        elif given in seen:
            yield Found(path, given, "two adapters have this name", "give each adapter a name of its own")
        seen.add(given)


def adapter_source(case: Case[Workspace]) -> Findings:
    remedy = "give it one of source.image and source.volumeSource"
    for index, adapter in enumerate(case.new.inference.adapters if case.new.inference else ()):
        source, path = adapter.source, f"inference.adapters[{index}].source"
        if source is None:
            yield Found(path, None, "expected a name and one of image and volumeSource", remedy)
        elif source.urls:
            yield Found(f"{path}.urls", list(source.urls), "adapters are not downloaded from URLs", remedy)
        elif bool(source.image) == bool(source.volume_source):
            yield Found(path, source.name or None, "expected a name and one of image and volumeSource", remedy)
        else:
            yield from (found_in(line, remedy) for line in source_errors(source, path))


def adapter_strength(case: Case[Workspace]) -> Findings:
    for index, adapter in enumerate(case.new.inference.adapters if case.new.inference else ()):
        if adapter.strength and not _is_share(adapter.strength):
            path = f"inference.adapters[{index}].strength"
            yield Found(path, adapter.strength, "no number from 0 to 1", 'write it as "0.5"')


def adapter_strength_vllm(case: Case[Workspace]) -> Findings:
    if is_transformers(case):
        return
    for index, adapter in enumerate(case.new.inference.adapters if case.new.inference else ()):
        if adapter.strength:
            path = f"inference.adapters[{index}].strength"
            remedy = f"remove it, or set the annotation {RUNTIME_ANNOTATION}: transformers"
            yield Found(path, adapter.strength, "vLLM applies adapters in full", remedy)


def presets_of(ws: Workspace) -> Iterator[tuple[str, PresetSpec]]:
    """Path and value of the preset of each section that has one."""
    if ws.inference and ws.inference.preset:
        yield "inference.preset.name", ws.inference.preset
    if ws.tuning and ws.tuning.preset:
        yield "tuning.preset.name", ws.tuning.preset


def found_in(line: str, remedy: str) -> Found:
    """A finding of `field: what is wrong`."""
    field, _, why = line.partition(": ")
    return Found(field, None, why, remedy)


def _one_of(case: Case[Workspace], key: str, allowed: tuple[str, ...]) -> Findings:
    given = annotation(case, key)
    if given is not None and given not in allowed:
        yield Found(annotation_path(key), given, "not a value that is understood", f"use one of {', '.join(allowed)}")


def _is_share(text: str) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return math.isfinite(value) and 0 <= value <= 1

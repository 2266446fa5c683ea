"""Rules of Workspace: the ConfigMaps that its sections name, as far as they are known, and the tuning section.

A ConfigMap that does not exist yet is a warning: it may be applied next, and a gate waits for it. One that is there and
makes no sense is an error.
"""

from __future__ import annotations

from collections.abc import Iterator

from kaito.api.core import CONFIG_MAP
from kaito.api.workspace import Workspace
from kaito.plan.catalog import Preset
from kaito.plan.inference_config import KEY as INFERENCE_KEY
from kaito.plan.inference_config import MAX_MODEL_LEN, engine_section, tokens_of
from kaito.plan.validate.rule import Case, Findings, Found
from kaito.plan.validate.tuning import CONFIG_KEY as TRAINING_KEY
from kaito.plan.validate.tuning import (
    METHODS,
    config_errors,
    destination_errors,
    machine_errors,
    method_of,
    source_errors,
)
from kaito.plan.validate.workspace_inference import found_in
from kaito.plan.validate.workspace_resource import is_transformers, preset_of


def inference_config(case: Case[Workspace]) -> Findings:
    inference, path = case.new.inference, "inference.config"
    if inference is None or not inference.config or is_transformers(case):
        return
    text, findings = _text(case, path, inference.config, INFERENCE_KEY)
    yield from findings
    if text is None:
        return
    try:
        section = engine_section(text)
    except ValueError as error:
        yield Found(path, inference.config, str(error), "write the engine's flags under `vllm:` in the ConfigMap")
        return
    yield from _context(inference.config, section.get(MAX_MODEL_LEN), preset_of(case))


def _context(config: str, given: object, preset: Preset | None) -> Findings:
    path = f"inference.config[{config}].vllm.{MAX_MODEL_LEN}"
    try:
        tokens = tokens_of(given)
    except ValueError as error:
        yield Found(path, given, str(error), "write a whole number, such as 8192, or auto")
        return
    if tokens is not None and preset is not None and preset.context_tokens_max and tokens > preset.context_tokens_max:
        why = f"{preset.name} takes {preset.context_tokens_max} tokens at most"
        yield Found(path, given, why, "lower it")


def tuning_machines(case: Case[Workspace]) -> Findings:
    if case.new.tuning is not None:
        yield from _lines(machine_errors(case.new))


def tuning_method(case: Case[Workspace]) -> Findings:
    section = case.new.tuning
    if section is not None and method_of(case.new) not in METHODS:
        yield Found("tuning.method", section.method, "expected lora or qlora", "write one of the two")


def tuning_preset(case: Case[Workspace]) -> Findings:
    if case.new.tuning is not None and case.new.tuning.preset is None:
        yield Found("tuning.preset", None, "missing", "name the model to tune")


def tuning_input(case: Case[Workspace]) -> Findings:
    if case.new.tuning is not None:
        yield from _lines(source_errors(case.new.tuning.input, "tuning.input"))


def tuning_output(case: Case[Workspace]) -> Findings:
    if case.new.tuning is not None:
        yield from _lines(destination_errors(case.new.tuning.output, "tuning.output"))


def _lines(found: Iterator[str]) -> Findings:
    yield from (found_in(line, "correct the named field") for line in found)


def training_config(case: Case[Workspace]) -> Findings:
    section, path = case.new.tuning, "tuning.config"
    if section is None or not section.config:
        return
    text, findings = _text(case, path, section.config, TRAINING_KEY)
    yield from findings
    for line in config_errors(text, method_of(case.new)) if text is not None else ():
        yield Found(path, section.config, line, "correct the ConfigMap")


def _text(case: Case[Workspace], path: str, name: str, key: str) -> tuple[str | None, tuple[Found, ...]]:
    """The file of the ConfigMap, or why there is none to look at."""
    namespace = case.new.metadata.namespace
    found = case.view.config_map(namespace, name)
    if found is not None:
        if key in (found.data or {}):
            return found.data[key], ()
        return None, (Found(path, name, f"the ConfigMap lacks the key {key}", "put the file under that key"),)
    if not case.view.is_synced_ref(CONFIG_MAP, namespace, name):
        return None, (Found(path, name, "not checked: the ConfigMap is not known yet", "", "warning"),)
    why = f"there is no such ConfigMap in namespace {namespace}"
    return None, (Found(path, name, why, f"create it with the key {key}; the Workspace waits for it", "warning"),)

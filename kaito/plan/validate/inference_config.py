"""Rule 22: the ConfigMap of `inference.config`."""

from __future__ import annotations

import yaml

from kaito.api.core import CONFIG_MAP
from kaito.api.workspace import Workspace
from kaito.plan.catalog import find_preset
from kaito.plan.validate.rules import Found, Subject

KEY = "inference_config.yaml"
FIELD = "inference.config"


def config_rule(s: Subject[Workspace]) -> Found:
    """It exists, is YAML with a mapping `vllm`, and asks for no longer context than the model has."""
    inference, namespace = s.root.inference, s.root.metadata.namespace
    if inference is None or not inference.config:
        return
    name = inference.config
    found = s.facts.config_map(namespace, name)
    if found is None:
        if s.facts.is_synced_ref(CONFIG_MAP, namespace, name):
            yield (
                FIELD,
                f"there is no ConfigMap {name} in {namespace}",
                f"create it with the key {KEY}, or leave it out",
            )
        return
    if KEY not in found.data:
        yield FIELD, f"ConfigMap {name} has no key {KEY}", "add it"
        return
    try:
        content = yaml.safe_load(found.data[KEY])
    except yaml.YAMLError as error:
        yield FIELD, f"{KEY} of ConfigMap {name} is not YAML: {' '.join(str(error).split())}", "correct it"
        return
    section = content.get("vllm") if isinstance(content, dict) else None
    if not isinstance(section, dict):
        if content is not None and not (isinstance(content, dict) and section is None):
            yield FIELD, f"{KEY} of ConfigMap {name} has no mapping `vllm`", "put the flags of the server under `vllm:`"
        return
    yield from _context(s, name, section.get("max-model-len"))


def _context(s: Subject[Workspace], name: str, asked: object) -> Found:
    if asked is None or asked == "auto":
        return
    where = f"max-model-len of ConfigMap {name}"
    if isinstance(asked, bool) or not str(asked).isdecimal():
        yield FIELD, f"{where}: {asked!r}", "give the context in tokens, or auto"
        return
    inference = s.root.inference
    preset = find_preset(inference.preset.name) if inference and inference.preset else None
    if preset is not None and 0 < preset.context_tokens_max < int(str(asked)):
        what = f"{where}: {asked}, and {preset.name} has at most {preset.context_tokens_max}"
        yield FIELD, what, "ask for a shorter context"

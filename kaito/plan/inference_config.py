"""inference_config.yaml: what the planner and the rules read of the file that the model server reads whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

KEY = "inference_config.yaml"
SECTION = "vllm"
MAX_MODEL_LEN = "max-model-len"
AS_MUCH_AS_FITS = "auto"


def engine_section(text: str) -> Mapping[str, Any]:
    """The engine's flags, with hyphens as on its command line. Raises ValueError, with what is wrong in words."""
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{KEY} is not YAML: {' '.join(str(error).split())}") from error
    section = found.get(SECTION) if isinstance(found, Mapping) else None
    if not isinstance(section, Mapping):
        raise ValueError(f"{KEY} has no map `{SECTION}`")
    return {str(key).replace("_", "-"): value for key, value in section.items()}


def tokens_of(given: object) -> int | None:
    """The context in tokens that a value of `max-model-len` asks for; None: as much as fits. Raises ValueError."""
    if given is None or given == AS_MUCH_AS_FITS:
        return None
    if isinstance(given, bool) or not str(given).strip().isdecimal() or int(str(given)) < 1:
        raise ValueError("no positive number of tokens")
    return int(str(given))


def context_asked(text: str) -> int | None:
    """The same of the whole file; None as well where the file makes no sense: the rules say so, the sizing goes on."""
    try:
        return tokens_of(engine_section(text).get(MAX_MODEL_LEN))
    except ValueError:
        return None

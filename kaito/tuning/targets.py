"""Which modules of a model get an adapter."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as PEFT_TARGETS
from torch import nn

from kaito.tuning.errors import ConfigError

ENVIRONMENT = "DEFAULT_TARGET_MODULES"  # comma-separated, as upstream's operator sets it
ALL_LINEAR = "all-linear"  # peft's word: every linear module but the output head
# Attention only where "all-linear" would put an adapter on each of many experts.
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


def choose_targets(model: Any, wanted: str | Iterable[str] | None) -> str | list[str]:
    """The user's modules, else the environment's, else the architecture's. Raises ConfigError when none is there.

    The default is every linear module; for mixtures of experts it is the attention's, or what peft knows to be usual.
    """
    if wanted:
        return _present(model, wanted, "LoraConfig.target_modules")
    if named := [name.strip() for name in os.environ.get(ENVIRONMENT, "").split(",") if name.strip()]:
        return _present(model, named, ENVIRONMENT)
    if not any(getattr(model.config.get_text_config(), key, 0) for key in EXPERTS):
        return ALL_LINEAR
    names = linear_names(model)
    attention = [name for name in ATTENTION if name in names]
    usual = PEFT_TARGETS.get(model.config.model_type, [])
    return attention or ([usual] if isinstance(usual, str) else list(usual)) or ALL_LINEAR


def linear_names(model: Any) -> frozenset[str]:
    """The last parts of the names of all modules that an adapter can sit on."""
    kinds = (nn.Linear, nn.Embedding, nn.Conv1d)
    return frozenset(
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, kinds) or type(module).__name__ in ("Conv1D", "Linear4bit", "Linear8bitLt")
    )


def _present(model: Any, wanted: str | Iterable[str], where: str) -> str | list[str]:
    if isinstance(wanted, str):  # "all-linear" or a regular expression: peft judges it
        return wanted
    modules = list(wanted)
    names = linear_names(model)
    if not any(module.rpartition(".")[2] in names for module in modules):
        raise ConfigError(
            f"{where}: none of {', '.join(modules)} is in a {model.config.model_type} model; "
            f"it has {', '.join(sorted(names))}"
        )
    return modules

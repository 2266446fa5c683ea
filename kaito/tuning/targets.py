"""Which modules of a model get an adapter."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as PEFT_TARGETS
from torch import nn

from kaito.tuning.errors import ConfigError

ENVIRONMENT = "DEFAULT_TARGET_MODULES"  # comma-separated, as upstream's operator sets it
ALL_LINEAR = "all-linear"  # peft's word: every linear module but the output head
# Attention only where "all-linear" would put an adapter on each of many experts: by these names, and whatever lies in
# a module that says that it attends (latent attention has names of its own).
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ATTENDS = "attn"
FOLDED = frozenset({"kv_b_proj"})  # vLLM folds it into the attention when it loads: an adapter on it would be lost
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
    return sorted(_attention(model)) or _usual(model) or ALL_LINEAR


def beside_text(model: Any) -> str | None:
    """A pattern of what a model has beside its text part: eyes and ears, which rows of text teach nothing.

    None where there is nothing. vLLM takes no adapter there, and a group of processes would wait for its gradients.
    """
    if model.config.get_text_config() is model.config:
        return None
    text = model.get_decoder()
    path = next((name for name, module in model.named_modules() if module is text), "")
    parent = path.rpartition(".")[0]
    around = model.get_submodule(parent) if path else model
    beside = [name for name, module in around.named_children() if module is not text and name != "lm_head"]
    prefix = re.escape(f"{parent}.") if parent else ""
    return f"{prefix}(?:{'|'.join(beside)})\\..*" if path and beside else None


def _attention(model: Any) -> frozenset[str]:
    found = set()
    decoder = model.get_decoder()
    for path in _paths(decoder, (nn.Linear,)):
        parent, _, name = path.rpartition(".")
        is_plain = "Grouped" not in type(decoder.get_submodule(path)).__name__  # peft's update has no groups
        if is_plain and (name in ATTENTION or ATTENDS in parent.rpartition(".")[2]):
            found.add(name)
    return frozenset(found - FOLDED)


def _usual(model: Any) -> list[str]:
    usual = PEFT_TARGETS.get(model.config.model_type, [])
    return [usual] if isinstance(usual, str) else list(usual)


def linear_names(model: Any) -> frozenset[str]:
    """The last parts of the names of all modules that an adapter can sit on."""
    return frozenset(path.rpartition(".")[2] for path in _paths(model, (nn.Linear, nn.Embedding, nn.Conv1d)))


def _paths(model: Any, kinds: tuple[type[nn.Module], ...]) -> list[str]:
    """Modules of these kinds, and those that other libraries have in the place of a linear one."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, kinds) or type(module).__name__ in ("Conv1D", "Linear4bit", "Linear8bitLt")
    ]


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

"""LoraConfig and TrainingArguments: the user's keys checked against peft's and trl's own classes, then built."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import torch
from peft import LoraConfig
from pydantic import create_model
from trl import SFTConfig

from kaito.tuning.config import Section, TuningConfig, checked
from kaito.tuning.errors import ConfigError

# What may only have one value here, with the reason that a user is told.
FIXED_LORA: dict[str, tuple[object, str]] = {
    "task_type": ("CAUSAL_LM", "only causal language models are tuned"),
    "peft_type": ("LORA", "only LoRA is trained"),
    "inference_mode": (False, "an adapter for inference cannot be trained"),
}
FIXED_TRAINING: dict[str, tuple[object, str]] = {
    "push_to_hub": (False, "the adapter goes where the Workspace's output says"),
    "deepspeed": (None, "several GPUs are driven by accelerate's data parallelism"),
    "remove_unused_columns": (True, "columns are named in DatasetConfig"),
}
# peft's annotation lists a pattern (`pissa_niter_[number of iters]`) as if it were a value.
LOOSE: dict[str, Any] = {"init_lora_weights": bool | str}


@cache
def lora_model() -> type[Section]:
    """LoraConfig's fields as a model that refuses unknown keys."""
    return _model_of(LoraConfig)


@cache
def training_model() -> type[Section]:
    """SFTConfig's fields (TrainingArguments among them) as a model that refuses unknown keys."""
    return _model_of(SFTConfig)


def build_lora(config: TuningConfig) -> LoraConfig:
    """peft's configuration. `target_modules` may be None: see `kaito.tuning.targets`. Raises ConfigError."""
    given = _checked(lora_model(), config.lora, "LoraConfig", FIXED_LORA)
    # peft finds these only when it builds the layers.
    if given.get("r", 1) < 1:
        raise ConfigError(f"LoraConfig.r: {given['r']}: expected a rank of 1 or more")
    if not 0 <= given.get("lora_dropout", 0) < 1:
        raise ConfigError(f"LoraConfig.lora_dropout: {given['lora_dropout']}: expected 0 or more, less than 1")
    try:
        return LoraConfig(**{**given, "task_type": "CAUSAL_LM"})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"LoraConfig: {error}") from error


def build_training(config: TuningConfig, output_dir: Path, *, has_evaluation: bool, is_terminal: bool) -> SFTConfig:
    """trl's arguments: the user's, over the defaults that this machine and a resumable run need. Raises ConfigError."""
    given = _checked(training_model(), config.training, "TrainingArguments", FIXED_TRAINING)
    defaults: dict[str, Any] = {
        "bf16": torch.cuda.is_available() and torch.cuda.is_bf16_supported() and not given.get("fp16"),
        "save_total_limit": 2,
        "logging_first_step": True,
        "report_to": "none",
        "disable_tqdm": not is_terminal,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "ddp_find_unused_parameters": False,
        "eval_strategy": "epoch" if has_evaluation else "no",
        "pad_to_multiple_of": config.collator.pad_to_multiple_of or "auto",
    }
    if not has_evaluation and str(given.get("eval_strategy", "no")) not in ("no", "IntervalStrategy.NO"):
        raise ConfigError("TrainingArguments.eval_strategy: train_test_split 1 leaves no rows to evaluate")
    try:
        return SFTConfig(**{**defaults, **given, "output_dir": str(output_dir)})
    except (TypeError, ValueError, ImportError) as error:
        raise ConfigError(f"TrainingArguments: {error}") from error


def _checked(
    model: type[Section], given: dict[str, Any], section: str, fixed: dict[str, tuple[object, str]]
) -> dict[str, Any]:
    found = checked(model, given, section)
    values = {name: getattr(found, name) for name in found.model_fields_set}
    for key, (only, reason) in fixed.items():
        if key in values and values[key] != only:
            raise ConfigError(f"{section}.{key}: {values[key]!r}: only {only!r}: {reason}")
    return values


def _model_of(source: type) -> type[Section]:
    """Every field of the dataclass that can be set, optional, with its own type."""
    hints = get_type_hints(source)
    fields: dict[str, Any] = {
        field.name: (LOOSE.get(field.name, hints[field.name]), _default(field))
        for field in dataclasses.fields(source)
        if field.init
    }
    return create_model(source.__name__, __base__=_Loose, **fields)


class _Loose(Section):
    model_config = {"arbitrary_types_allowed": True}  # noqa: RUF012 (pydantic's own way)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None

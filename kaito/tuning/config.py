"""training_config.yaml: its sections as pydantic models. The key `training_config` holds all of them.

LoraConfig and TrainingArguments are peft's and trl's own classes; `kaito.tuning.arguments` checks them against these.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from kaito.tuning.errors import ConfigError

ROOT_KEY = "training_config"
CONFIG_BYTES_MAX = 1 << 20
IGNORED = "Accepted for upstream's files; has no effect."


class Section(BaseModel):
    # `model_` is not ours to protect: pydantic's own prefix has no meaning in a user's file.
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), populate_by_name=True)


class ModelConfig(Section):
    """The model to tune."""

    pretrained_model_name_or_path: str = Field(
        default="/workspace/weights", description="Folder, or org/model of the hub."
    )
    revision: str = Field(default="main", description="Branch, tag or commit of the hub.")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        default="auto",
        validation_alias=AliasChoices("dtype", "torch_dtype"),
        description="Type of the base weights; auto takes the one that they are stored in. Also as `torch_dtype`.",
    )
    attn_implementation: str | None = Field(
        default=None, description="eager, sdpa or flash_attention_2; chosen if absent."
    )
    trust_remote_code: bool = Field(default=False, description="Run code that the model's repository brings.")
    chat_template: str | None = Field(
        default=None, description="Jinja text, or a file with it, instead of the model's own."
    )
    device_map: str | dict[str, Any] | None = Field(
        default="auto", description="How one process spreads a model over GPUs."
    )
    cache_dir: str | None = Field(default=None, description="Where the hub's files are kept.")
    force_download: bool = Field(default=False, description="Fetch the model again.")
    local_files_only: bool = Field(default=False, description="Never ask the hub.")
    proxies: dict[str, str] | None = Field(default=None, description=IGNORED + " Set HTTPS_PROXY instead.")
    state_dict: dict[str, Any] | None = Field(default=None, description=IGNORED)
    output_loading_info: bool = Field(default=False, description=IGNORED)


class QuantizationConfig(Section):
    """How base weights are compressed while a QLoRA is trained (bitsandbytes, on a GPU; on a CPU with `use_cpu`)."""

    quant_method: Literal["bitsandbytes"] = Field(default="bitsandbytes", description="The only method.")
    load_in_4bit: bool = Field(default=False, description="4 bits a weight.")
    load_in_8bit: bool = Field(default=False, description="8 bits a weight.")
    llm_int8_threshold: float = Field(default=6.0, ge=0, description="Activations beyond it stay in 16 bits.")
    llm_int8_skip_modules: list[str] | None = Field(default=None, description="Modules that are not compressed.")
    llm_int8_enable_fp32_cpu_offload: bool = Field(default=False, description="Keep what does not fit in host memory.")
    llm_int8_has_fp16_weight: bool = Field(default=False, description="Keep 16-bit weights beside the 8-bit ones.")
    bnb_4bit_compute_dtype: Literal["bfloat16", "float16", "float32"] = Field(
        default="float32", description="Type that 4-bit weights are computed in."
    )
    bnb_4bit_quant_type: Literal["fp4", "nf4"] = Field(default="fp4", description="The 4-bit code.")
    bnb_4bit_use_double_quant: bool = Field(default=False, description="Compress the scales as well.")

    @property
    def is_on(self) -> bool:
        return self.load_in_4bit or self.load_in_8bit

    @model_validator(mode="after")
    def one_width(self) -> QuantizationConfig:
        if self.load_in_4bit and self.load_in_8bit:
            raise ValueError("load_in_4bit and load_in_8bit are both true: choose one")
        return self


class DatasetConfig(Section):
    """Which rows are trained on, and which are kept to evaluate on."""

    dataset_path: str | list[str] | None = Field(
        default=None, description="Files, folders or globs under the data folder; all data files in it if absent."
    )
    dataset_extension: Literal["json", "jsonl", "csv", "parquet", "arrow"] | None = Field(
        default=None, description="Only files of this format; it also names the format of files without an extension."
    )
    shuffle_dataset: bool = Field(default=True, description="Shuffle the rows once, before the split.")
    shuffle_seed: int = Field(default=42, ge=0, description="Seed of the shuffle and of the split.")
    messages_column: str | None = Field(default=None, description="Column with a list of chat messages.")
    context_column: str | None = Field(default=None, description="Column with the prompt; needs response_column.")
    response_column: str | None = Field(
        default=None, description="Column that is learnt: the completion of context_column, or plain text on its own."
    )
    train_test_split: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Share of the rows to train on; the rest is evaluated on. 1 evaluates nothing.",
    )

    @model_validator(mode="after")
    def one_form(self) -> DatasetConfig:
        if self.messages_column and (self.context_column or self.response_column):
            raise ValueError("messages_column excludes context_column and response_column: keep one form")
        if self.context_column and not self.response_column:
            raise ValueError("context_column needs response_column: the column that answers it")
        return self


class DataCollator(Section):
    """How rows become a batch."""

    pad_to_multiple_of: int | None = Field(default=None, ge=1, description="Batch lengths are multiples of this.")
    mlm: bool = Field(default=False, description=IGNORED + " Causal models learn the next token.")
    mlm_probability: float | None = Field(default=None, description=IGNORED)
    mask_replace_prob: float | None = Field(default=None, description=IGNORED)
    random_replace_prob: float | None = Field(default=None, description=IGNORED)
    return_tensors: Literal["pt"] = Field(default="pt", description="PyTorch tensors, always.")
    tf_experimental_compile: bool = Field(default=False, description=IGNORED)
    seed: int | None = Field(default=None, description=IGNORED)


class TuningConfig(Section):
    """The whole file, each section optional."""

    model: ModelConfig = Field(default_factory=ModelConfig, alias="ModelConfig")
    quantization: QuantizationConfig = Field(default_factory=QuantizationConfig, alias="QuantizationConfig")
    lora: dict[str, Any] = Field(default={}, alias="LoraConfig")
    training: dict[str, Any] = Field(default={}, alias="TrainingArguments")
    dataset: DatasetConfig = Field(default_factory=DatasetConfig, alias="DatasetConfig")
    collator: DataCollator = Field(default_factory=DataCollator, alias="DataCollator")


SectionT = TypeVar("SectionT", bound=Section)
SECTIONS: tuple[str, ...] = tuple(str(field.alias) for field in TuningConfig.model_fields.values())
METHODS = ("lora", "qlora")


def load_config(path: Path) -> TuningConfig:
    """The configuration in the file. Raises ConfigError that names section, key, value and what was expected."""
    try:
        if path.stat().st_size > CONFIG_BYTES_MAX:
            raise ConfigError(f"{path}: more than {CONFIG_BYTES_MAX} bytes: not a training configuration")
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    try:
        return parse_config(raw)
    except ConfigError as error:
        raise ConfigError(f"{path.name}: {error}") from None


def parse_config(raw: object) -> TuningConfig:
    """The configuration that this document says. Raises ConfigError with one line for each thing wrong."""
    if not isinstance(raw, Mapping) or not isinstance(raw.get(ROOT_KEY), Mapping):
        raise ConfigError(f"expected the key {ROOT_KEY} with the sections {', '.join(SECTIONS)} under it")
    sections = {str(key): {} if value is None else value for key, value in raw[ROOT_KEY].items()}
    return checked(TuningConfig, sections)


def checked(model: type[SectionT], raw: object, section: str = "") -> SectionT:
    """`raw` as the model. Raises ConfigError; unknown keys are answered with the nearest known one."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = [_line(item, section, model) for item in error.errors(include_url=False)]
        raise ConfigError("; ".join(dict.fromkeys(lines))) from None


def check_method(config: TuningConfig, method: str) -> None:
    """Raises ConfigError where the method and the quantization contradict each other."""
    if method not in METHODS:
        raise ConfigError(f"method {method!r}: choose lora or qlora")
    is_on = config.quantization.is_on
    if method == "qlora" and not is_on:
        raise ConfigError("QuantizationConfig: method qlora needs load_in_4bit: true or load_in_8bit: true")
    if method == "lora" and is_on:
        raise ConfigError("QuantizationConfig: method lora takes no quantization: remove it, or use method qlora")


def _line(item: Any, section: str, model: type[Section]) -> str:
    # A union reports each of its members: their names in the path tell a user nothing.
    path = [str(part) for part in item["loc"] if str(part).isidentifier()]
    where = ".".join([*([section] if section else []), *path[:2]])
    if item["type"] == "extra_forbidden":
        known = _known(model, path)
        close = get_close_matches(path[-1] if path else str(item["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known)[:40])}"
        return f"{where}: unknown {'key' if section or len(path) > 1 else 'section'}; {hint}"
    value = item["input"]
    seen = "" if isinstance(value, Mapping | list) else f"{value!r}: "
    message = str(item["msg"])
    return f"{where}: {seen}{message[:1].lower() + message[1:]}".removeprefix(": ")


def _known(model: type[Section], path: list[str]) -> list[str]:
    fields = model.model_fields
    if len(path) > 1:
        nested = next((f.annotation for f in fields.values() if f.alias == path[0]), None)
        if isinstance(nested, type) and issubclass(nested, Section):
            fields = nested.model_fields
    other = [alias for field in fields.values() for alias in _aliases(field.validation_alias)]
    return [*(field.alias or name for name, field in fields.items()), *other]


def _aliases(alias: object) -> list[str]:
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else []

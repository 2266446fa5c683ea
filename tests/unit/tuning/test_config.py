from __future__ import annotations

import re
from pathlib import Path

import pytest

from kaito.tuning.config import check_method, load_config, parse_config
from kaito.tuning.errors import ConfigError

# The shape of the templates that upstream's users have: every section, the values that it shows.
UPSTREAM = """
training_config:
  ModelConfig:
    torch_dtype: "bfloat16"
    local_files_only: true
    device_map: "auto"
  QuantizationConfig:
    load_in_4bit: true
    bnb_4bit_quant_type: "nf4"
    bnb_4bit_compute_dtype: "bfloat16"
    bnb_4bit_use_double_quant: true
  LoraConfig:
    r: 8
    lora_alpha: 8
    lora_dropout: 0.0
  TrainingArguments:
    output_dir: "/mnt/results"
    ddp_find_unused_parameters: false
    save_strategy: "no"
    per_device_train_batch_size: 1
  DataCollator:
    mlm: true
  DatasetConfig:
    shuffle_dataset: true
    train_test_split: 1
"""


def test_a_template_of_upstream_is_read(tmp_path: Path) -> None:
    from kaito.tuning.arguments import build_lora, build_training

    path = tmp_path / "training_config.yaml"
    path.write_text(UPSTREAM)
    config = load_config(path)
    check_method(config, "qlora")
    assert (config.model.dtype, config.quantization.load_in_4bit, config.dataset.train_test_split) == (
        "bfloat16",
        True,
        1,
    )
    assert build_lora(config).lora_alpha == 8
    args = build_training(config, tmp_path, has_evaluation=False, is_terminal=False)
    assert (str(args.save_strategy.value), args.per_device_train_batch_size, args.output_dir) == (
        "no",
        1,
        str(tmp_path),
    )


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"ModelConfig": {"torch_dtyp": "auto"}}, "ModelConfig.torch_dtyp: unknown key; did you mean torch_dtype?"),
        ({"TrainingArgument": {}}, "TrainingArgument: unknown section; did you mean TrainingArguments?"),
        (
            {"DatasetConfig": {"train_test_split": 1.5}},
            "DatasetConfig.train_test_split: 1.5: .*less than or equal to 1",
        ),
        ({"DatasetConfig": {"context_column": "q"}}, "DatasetConfig: .*context_column needs response_column"),
        ({"DatasetConfig": {"shuffle_seed": "soon"}}, "DatasetConfig.shuffle_seed: 'soon': .*valid integer"),
        (
            {"QuantizationConfig": {"load_in_4bit": True, "load_in_8bit": True}},
            "QuantizationConfig: .*load_in_4bit and load_in_8bit are both true",
        ),
        ({"DatasetConfig": [1]}, "DatasetConfig: .*valid dict"),
    ],
)
def test_what_is_wrong_is_named_by_section_and_key(sections: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config({"training_config": sections})


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("LoraConfig", {"lora_alfa": 1}, "LoraConfig.lora_alfa: unknown key; did you mean lora_alpha?"),
        ("LoraConfig", {"r": "many"}, "LoraConfig.r: 'many': .*valid integer"),
        ("LoraConfig", {"r": 0}, "LoraConfig.r: 0: expected a rank of 1 or more"),
        ("LoraConfig", {"task_type": "SEQ_CLS"}, "LoraConfig.task_type: 'SEQ_CLS': only 'CAUSAL_LM'"),
        (
            "TrainingArguments",
            {"learning_rat": 1},
            "TrainingArguments.learning_rat: unknown key; did you mean learning_rate?",
        ),
        ("TrainingArguments", {"learning_rate": "fast"}, "TrainingArguments.learning_rate: 'fast': .*valid number"),
        ("TrainingArguments", {"save_strategy": "never"}, "TrainingArguments: .*never"),
        (
            "TrainingArguments",
            {"push_to_hub": True},
            "TrainingArguments.push_to_hub: True: only False: the adapter goes",
        ),
        ("TrainingArguments", {"eval_strategy": "steps"}, "TrainingArguments.eval_strategy: .*no rows to evaluate"),
    ],
)
def test_keys_of_peft_and_trl_are_checked_against_their_classes(
    section: str, values: dict[str, object], message: str, tmp_path: Path
) -> None:
    from kaito.tuning.arguments import build_lora, build_training

    config = parse_config({"training_config": {section: values}})
    with pytest.raises(ConfigError, match=message):
        build_lora(config)
        build_training(config, tmp_path, has_evaluation=False, is_terminal=False)


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-4 as a text."""
    from kaito.tuning.arguments import build_training

    path = tmp_path / "c.yaml"
    path.write_text("training_config: {TrainingArguments: {learning_rate: 1e-4}}")
    args = build_training(load_config(path), tmp_path, has_evaluation=False, is_terminal=False)
    assert args.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training_config: [", "not YAML"),
        ("other: {}", "expected the key training_config with the sections ModelConfig"),
        ("\xff", "expected the key"),
        ("training_config: 3", "expected the key training_config"),
    ],
)
def test_a_file_that_is_no_configuration_says_what_is_expected(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_method_and_quantization_agree() -> None:
    plain = parse_config({"training_config": {}})
    squeezed = parse_config({"training_config": {"QuantizationConfig": {"load_in_8bit": True}}})
    check_method(plain, "lora")
    check_method(squeezed, "qlora")
    for config, method in ((plain, "qlora"), (squeezed, "lora"), (plain, "full")):
        with pytest.raises(ConfigError, match=re.escape(method)):
            check_method(config, method)


def test_the_reference_page_is_the_one_that_the_code_makes() -> None:
    from kaito.tuning.reference import reference

    assert Path("docs/tuning/config.md").read_text() == reference(), (
        "run: python -m kaito.tuning.reference > docs/tuning/config.md"
    )

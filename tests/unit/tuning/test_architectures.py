"""Every architecture of the catalogue, made tiny on the spot: adapters sit where they should, and learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PretrainedConfig, set_seed
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from kaito.inference.engines.tiny import SIZES
from kaito.inference.engines.tiny_tokenizer import tiny_tokenizer
from kaito.inference.engines.transformers.adapters import Adapters
from kaito.plan.catalog import presets
from kaito.tuning.model import loader
from kaito.tuning.targets import beside_text, choose_targets
from tests.unit.tuning.test_train import train, weights

ARCHITECTURES = sorted({preset.architecture for preset in presets().values()})
# The hub's name of an architecture and transformers' own.
SPELT = {"KimiK25ForConditionalGeneration": "Kimi_K25ForConditionalGeneration"}
# Code that the model's repository brings, or weights in Mistral's own format: nothing of transformers loads them.
FOREIGN = {"NemotronH_Nano_VL_V2", "MistralLarge3ForCausalLM"}
DENSE = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
LATENT = {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "o_proj"}
TINY: dict[str, Any] = SIZES | {
    "vocab_size": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "attention_dropout": 0.0,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "index_head_dim": 16,
    "index_n_heads": 2,
    "n_shared_experts": 1,
    "global_head_dim": 32,
    "hidden_size_per_layer_input": 16,
    "vocab_size_per_layer_input": 512,
    "per_layer_config": None,
    "mlp_layer_types": None,
    # eyes
    "depth": 1,
    "num_heads": 4,
    "out_hidden_size": 128,
    "num_position_embeddings": 16,
}
# Where the general sizes do not fit together.
OWN: dict[str, dict[str, Any]] = {
    "deepseek_v4": {"num_key_value_heads": 1, "head_dim": 64, "qk_rope_head_dim": 8, "o_groups": 2, "o_lora_rank": 8},
    "gemma4_text": {"num_experts": None},  # as most of its models
    "qwen3_5_text": {"num_hidden_layers": 4},  # three layers of linear attention, one of full
    "qwen3_5_moe_text": {"num_hidden_layers": 4},
}


def tiny_config(model_type: str) -> PretrainedConfig:
    """The architecture's usual configuration at tiny sizes, and that of each part."""
    usual = CONFIG_MAPPING[model_type]()
    parts = {key: part for key, part in vars(usual).items() if isinstance(part, PretrainedConfig)}
    if not parts:
        return _shrunk(usual)
    sizes = {"image_token_id": 5, "image_token_index": 5, "pad_token_id": 0, "audio_token_id": 6, "video_token_id": 7}
    given = {key: value for key, value in sizes.items() if key in usual.to_dict()}
    return type(usual)(**given, **{key: _shrunk(part) for key, part in parts.items()})


def _shrunk(usual: PretrainedConfig) -> PretrainedConfig:
    known = set(usual.to_dict())
    sizes = dict(TINY)
    if "kv_lora_rank" in known:  # latent attention: no shared heads, and a head's width is its rotated part's
        sizes |= {"head_dim": sizes["qk_rope_head_dim"], "num_key_value_heads": sizes["num_attention_heads"]}
    sizes |= OWN.get(usual.model_type, {})
    return type(usual)(**{key: value for key, value in sizes.items() if key in known})


def model_type_of(architecture: str) -> str:
    """transformers' name of the configuration that goes with the class."""
    config_class = getattr(transformers, SPELT.get(architecture, architecture)).config_class
    return str(config_class.model_type)


def with_adapter(architecture: str) -> Any:
    """The tiny model with the adapter that a configuration without `target_modules` gets."""
    set_seed(1)
    config = tiny_config(model_type_of(architecture))
    model = loader(config).from_config(config, dtype=torch.float32)
    assert type(model).__name__ == SPELT.get(architecture, architecture)
    lora = LoraConfig(task_type="CAUSAL_LM", target_modules=choose_targets(model, None))
    lora.exclude_modules = beside_text(model)
    return get_peft_model(model, lora)


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in FOREIGN])
def test_rows_of_text_teach_every_adapter_of_the_architecture(architecture: str) -> None:
    model = with_adapter(architecture)
    ids = torch.randint(10, 500, (1, 160))  # more tokens than any layer compresses into one
    model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss.backward()
    learning = {name: weight for name, weight in model.named_parameters() if ".lora_B." in name}
    idle = [name for name, weight in learning.items() if weight.grad is None or not weight.grad.any()]
    assert learning and not idle
    beside = [name for name in learning if any(part in name for part in ("visual", "vision", "audio", "projector"))]
    assert not beside


@pytest.mark.parametrize(
    ("architecture", "leaves"),
    [
        ("LlamaForCausalLM", DENSE),
        ("Mistral3ForConditionalGeneration", DENSE),
        ("GptOssForCausalLM", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("DeepseekV3ForCausalLM", LATENT),
        ("KimiK25ForConditionalGeneration", LATENT),
    ],
)
def test_dense_models_get_adapters_everywhere_and_mixtures_of_experts_on_their_attention(
    architecture: str, leaves: set[str]
) -> None:
    names = [
        name.partition(".lora_B")[0] for name, _ in with_adapter(architecture).named_parameters() if "lora_B" in name
    ]
    assert {name.rpartition(".")[2] for name in names} == leaves


def test_what_is_tuned_on_the_whole_of_a_model_that_sees_is_served_by_its_text_part(
    tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """vLLM serves the whole, this engine the text part: the adapter has the names of the whole, and fits both."""
    base, data, output = tmp_path / "base", tmp_path / "data", tmp_path / "out"
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(base)
    config = tiny_config("qwen3_5")
    config.text_config.vocab_size = len(tokenizer)
    set_seed(1)
    AutoModelForImageTextToText.from_config(config, dtype=torch.float32).save_pretrained(base)
    data.mkdir()
    (data / "rows.jsonl").write_text('{"prompt": "why? ", "completion": "because"}\n' * 8)
    training = {"max_steps": 3, "learning_rate": 0.1, "gradient_checkpointing": False}
    train(write_config(TrainingArguments=training, DatasetConfig={"train_test_split": 1}), base, data, output)
    assert all(".language_model." in name for name in weights(output))

    ids = tokenizer("why? ", return_tensors="pt")["input_ids"]
    plain, part = (kind.from_pretrained(base).eval() for kind in (AutoModelForImageTextToText, AutoModelForCausalLM))
    before = part(ids).logits
    whole = PeftModel.from_pretrained(plain, output).eval()
    adapters = Adapters(part, rank_max=64)
    adapters.load("tuned", output)
    after = whole(ids).logits
    assert not torch.allclose(before, after, atol=1e-2)
    adapters.route_rows([adapters.key_of("tuned")])
    assert torch.allclose(part(ids).logits, after, atol=1e-4)

"""LoRA adapters: each as PEFT alone would run it, side by side in one batch, loaded and unloaded while others run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio

from kaito.inference.settings import Limits, ModelSettings, ServerSettings
from tests.contract.engine.conftest import NAME, Reference, Served, serving

pytest.importorskip("peft")
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

pytestmark = pytest.mark.asyncio(loop_scope="session")
TARGETS = {
    "wide": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
    "v1.2": ["o_proj", "lm_head"],
    "late": ["qkv_proj"],
}
PROMPT = "a watch event changes the state"


@pytest.fixture(scope="module")
def adapters(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Adapters strong enough to change what is said."""
    folders = {}
    for seed, (name, targets) in enumerate(TARGETS.items()):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        config = LoraConfig(r=4, lora_alpha=32, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM")
        folders[name] = tmp_path_factory.mktemp("adapters") / name
        get_peft_model(model, config).save_pretrained(folders[name])
    return folders


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(checkpoint: Path, adapters: dict[str, Path]) -> AsyncIterator[Served]:
    model = ModelSettings(
        model=str(checkpoint),
        served_names=(NAME,),
        slots_max=8,
        kv_cache_bytes=8 << 20,
        context_tokens=512,
        enable_lora=True,
        lora_modules=tuple((name, str(adapters[name])) for name in ("wide", "v1.2")),
    )
    settings = ServerSettings(
        engine="transformers", host="127.0.0.1", port=0, model=model, limits=Limits(queue_max=64), runtime_lora=True
    )
    async with serving(settings, checkpoint) as found:
        yield found


def expected(reference: Reference, checkpoint: Path, adapter: Path | None, tokens: list[int]) -> list[int]:
    alone = Reference(checkpoint)
    if adapter is not None:
        alone.model = PeftModel.from_pretrained(alone.model, str(adapter)).eval()
    return alone.greedy(tokens, 24, ignores_eos=True)


async def say(served: Served, model: str, **options: Any) -> Any:
    extra = {"ignore_eos": True, "return_token_ids": True}
    return await served.client.completions.create(
        model=model, prompt=PROMPT, max_tokens=24, temperature=0, extra_body=extra, **options
    )


async def test_base_and_adapters_in_one_batch_each_say_what_they_say_alone(
    served: Served, reference: Reference, checkpoint: Path, adapters: dict[str, Path]
):
    tokens = reference.tokenizer.encode(PROMPT)
    names = [NAME, "wide", "v1.2", NAME, "v1.2", "wide"]
    answers = await asyncio.gather(*(say(served, name) for name in names))
    said = {}
    for name, answer in zip(names, answers, strict=True):
        assert answer.choices[0].token_ids == expected(reference, checkpoint, adapters.get(name), tokens)
        assert answer.model == name
        said[name] = answer.choices[0].text
    assert len(set(said.values())) == 3


async def test_the_prompts_logprobs_are_the_adapters(served: Served):
    plain, tuned = [(await say(served, name, echo=True, logprobs=0)).choices[0].logprobs for name in (NAME, "wide")]
    assert plain.tokens[:5] == tuned.tokens[:5] and plain.token_logprobs[1:5] != tuned.token_logprobs[1:5]


async def post(served: Served, path: str, body: dict[str, Any]) -> Any:
    return await served.client.post(path, body=body, cast_to=object)


async def test_an_adapter_comes_and_goes_while_others_run(
    served: Served, reference: Reference, checkpoint: Path, adapters: dict[str, Path]
):
    running = asyncio.create_task(say(served, "wide"))
    await post(served, "/load_lora_adapter", {"lora_name": "late", "lora_path": str(adapters["late"])})
    assert "late" in [model.id async for model in served.client.models.list()]
    tokens = reference.tokenizer.encode(PROMPT)
    answer = await say(served, "late")
    assert answer.choices[0].token_ids == expected(reference, checkpoint, adapters["late"], tokens)
    await post(served, "/unload_lora_adapter", {"lora_name": "late"})
    with pytest.raises(openai.NotFoundError, match=r"Served here: `tiny`, `wide`, `v1\.2`"):
        await say(served, "late")
    assert (await running).choices[0].token_ids == expected(reference, checkpoint, adapters["wide"], tokens)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/load_lora_adapter", {"lora_name": "wide", "lora_path": "/x"}, "loaded already"),
        ("/load_lora_adapter", {"lora_name": "n", "lora_path": "/does/not/exist"}, "has no adapter_config.json"),
        ("/load_lora_adapter", {"lora_name": NAME, "lora_path": "/x"}, "base model's own name"),
        ("/load_lora_adapter", {"lora_name": "n"}, "lora_path"),
        ("/unload_lora_adapter", {"lora_name": "nobody"}, "there is no adapter 'nobody': loaded are wide, v1.2"),
    ],
)
async def test_what_cannot_be_loaded_is_told(served: Served, path: str, body: dict[str, Any], words: str):
    with pytest.raises(openai.BadRequestError, match=words):
        await post(served, path, body)


async def test_strengths_merge_adapters_into_the_served_model(
    checkpoint: Path, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch, reference: Reference
):
    monkeypatch.setenv("wide", "0.5")
    model = ModelSettings(
        model=str(checkpoint),
        served_names=(NAME,),
        slots_max=2,
        kv_cache_bytes=4 << 20,
        context_tokens=256,
        lora_modules=(("wide", str(adapters["wide"])), ("late", str(adapters["late"]))),
        combination_type="cat",
    )
    merged = PeftModel.from_pretrained(Reference(checkpoint).model, str(adapters["wide"]), adapter_name="a")
    merged.load_adapter(str(adapters["late"]), adapter_name="b")
    merged.add_weighted_adapter(["a", "b"], [0.5, 1.0], "c", combination_type="cat")
    merged.set_adapter("c")
    alone = Reference(checkpoint)
    alone.model = merged.eval()
    settings = ServerSettings(engine="transformers", host="127.0.0.1", port=0, model=model)
    async with serving(settings, checkpoint) as found:
        answer = await say(found, NAME)
        assert answer.choices[0].token_ids == alone.greedy(reference.tokenizer.encode(PROMPT), 24, ignores_eos=True)
        only = await say(found, "late")
        assert only.choices[0].token_ids != answer.choices[0].token_ids

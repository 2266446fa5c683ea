"""Architectures of the catalogue and others: whatever batching one gets, the tokens are `generate`'s."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kaito.inference.engines.tiny import make_tiny
from kaito.inference.settings import ModelSettings, ServerSettings
from tests.contract.engine.conftest import NAME, Reference, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")
PROMPTS = ["the node", "a watch event changes the state of the world and then", "why? " * 30]


@pytest.mark.parametrize(
    "architecture",
    ["LlamaForCausalLM", "Qwen3ForCausalLM", "Gemma2ForCausalLM", "MambaForCausalLM", "DeepseekV3ForCausalLM"],
)
async def test_greedy_output_is_generates(architecture: str, tmp_path: Path):
    assert architecture in make_tiny(tmp_path / "m", architecture)
    reference = Reference(tmp_path / "m")
    model = ModelSettings(
        model=str(tmp_path / "m"), served_names=(NAME,), slots_max=4, kv_cache_bytes=8 << 20, context_tokens=512
    )
    settings = ServerSettings(engine="transformers", host="127.0.0.1", port=0, model=model)
    async with serving(settings, tmp_path) as served:
        answers = await asyncio.gather(
            *(
                served.client.completions.create(
                    model=NAME,
                    prompt=prompt,
                    max_tokens=20,
                    temperature=0,
                    extra_body={"ignore_eos": True, "return_token_ids": True},
                )
                for prompt in PROMPTS
            )
        )
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        tokens = reference.tokenizer.encode(prompt)
        assert answer.choices[0].token_ids == reference.greedy(tokens, 20, ignores_eos=True)  # type: ignore[attr-defined]

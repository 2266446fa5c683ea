"""What vLLM is told: the laws of `kaito.inference.engines.vllm.flags`, which needs no vLLM."""

import json
from pathlib import Path

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from kaito.inference.engines.vllm.flags import (
    GIB,
    UTILIZATION_MAX,
    adapter_flags,
    given,
    kv_offload_flags,
    utilization,
)


@pytest.mark.parametrize("word", ["--max-model-len", "--max-model-len=4", "--max_model_len=4"])
def test_an_argument_is_found_in_every_spelling(word: str) -> None:
    assert given([word], "max-model-len")


def test_every_folder_with_an_adapter_becomes_a_module_and_the_largest_rank_fits(tmp_path: Path) -> None:
    for name, rank in (("b", 8), ("a", 24)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(json.dumps({"r": rank}))
    (tmp_path / "lost+found").mkdir()
    flags = adapter_flags([], tmp_path)
    assert flags[:4] == ["--enable-lora", "--max-lora-rank", "32", "--lora-modules"]
    assert [json.loads(word)["name"] for word in flags[4:]] == ["a", "b"]


def test_a_rank_that_the_user_gave_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "adapter_config.json").write_text("{}")
    assert "--max-lora-rank" not in adapter_flags(["--max-lora-rank=64"], tmp_path)


def test_modules_that_the_user_named_are_all_there_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "adapter_config.json").write_text("{}")
    assert adapter_flags(["--lora-modules", "x=/y"], tmp_path) == []
    assert adapter_flags([], tmp_path / "missing") == []


def test_the_users_own_kv_transfer_is_never_replaced() -> None:
    offload = {"share": 0.5, "available_bytes": 64 * GIB, "ranks": 1}
    assert kv_offload_flags([], **offload) == ["--kv-offloading-size=32.0"]
    assert kv_offload_flags(["--kv-transfer-config={}"], **offload) == []
    assert kv_offload_flags([], share=0.0, available_bytes=64 * GIB, ranks=1) == []


@for_all(total=st.integers(1 * GIB, 200 * GIB), share=st.floats(0, 1))
def test_the_utilisation_never_promises_memory_that_is_not_free(total: int, share: float) -> None:
    free = int(total * share)
    found = utilization(free, total)
    assert 0.01 <= found <= UTILIZATION_MAX
    assert found == 0.01 or found * total <= free

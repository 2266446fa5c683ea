"""What vLLM is told: the laws of `kaito.inference.engines.vllm.flags`, which needs no vLLM."""

import json
from argparse import ArgumentParser, BooleanOptionalAction
from pathlib import Path

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from kaito.inference.engines.vllm.flags import (
    GIB,
    UTILIZATION_MAX,
    adapter_flags,
    file_flags,
    given,
    kv_offload_flags,
    utilization,
)


def parser() -> ArgumentParser:
    found = ArgumentParser()
    found.add_argument("--enforce-eager", action=BooleanOptionalAction, default=False)
    found.add_argument("--disable-log-stats", action="store_true")
    found.add_argument("--max-model-len")
    found.add_argument("--rope", type=json.loads)
    found.add_argument("--served-model-name", nargs="+")
    found.add_argument("--compilation-config", type=json.loads)
    return found


def test_values_of_the_file_keep_their_yaml_types() -> None:
    values = {
        "enforce-eager": True,
        "disable_log_stats": False,  # a switch without its off form: left out
        "max-model-len": 2048,
        "rope": {"type": "yarn", "factor": 2.5},
        "served-model-name": ["a b", "c"],
    }
    args = parser().parse_args(file_flags(parser(), values))
    assert args.enforce_eager is True
    assert args.disable_log_stats is False
    assert args.max_model_len == "2048"
    assert args.rope == {"type": "yarn", "factor": 2.5}
    assert args.served_model_name == ["a b", "c"]


def test_false_takes_back_what_the_command_line_switched_on() -> None:
    words = ["--enforce-eager", *file_flags(parser(), {"enforce-eager": False})]
    assert parser().parse_args(words).enforce_eager is False


def test_null_leaves_the_default_and_nested_keys_name_their_own_argument() -> None:
    assert file_flags(parser(), {"max-model-len": None}) == []
    assert file_flags(parser(), {"compilation_config.mode": 3}) == ["--compilation-config.mode=3"]


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(ValueError, match=r"vllm\.max-modle-len: vLLM has no such argument"):
        file_flags(parser(), {"max-modle-len": 1})


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

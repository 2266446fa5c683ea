"""Flags, file and environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaito.inference.arguments import ArgumentError, parse
from kaito.plan.desired.inference_command import ModelFlags, inference_command
from kaito.plan.estimate import Parallelism

PHI = ModelFlags(
    "microsoft/Phi-3.5-mini-instruct", "phi-3.5-mini-instruct", tool_parser="hermes", reasoning_parser="qwen3"
)


def planned(**changes: object) -> list[str]:
    command = inference_command(
        PHI,
        Parallelism(),
        **{
            "engine": "auto",
            "has_config": False,
            "has_adapters": True,
            "gpu_memory_utilization": 0.84,
            "performance_mode": "throughput",
            "is_sliced": False,
            "measures": True,
            "leader_address": "",
            **changes,
        },  # type: ignore[arg-type]
    )
    assert command[:3] == ["python", "-m", "kaito.inference"]
    return command[3:]


def test_the_planners_command_is_understood_and_only_vllms_own_flags_are_unused():
    settings = parse(planned(), {})
    assert settings.model.model == "microsoft/Phi-3.5-mini-instruct"
    assert settings.model.served_names == ("phi-3.5-mini-instruct",)
    assert settings.model.context_tokens is None
    assert settings.model.adapters_dir == "/mnt/adapter" and settings.model.enable_lora
    assert settings.model.tool_call_parser == "hermes" and settings.model.auto_tool_choice
    assert settings.port == 5000
    assert settings.unused == (
        "tensor-parallel-size",
        "kv-events-config",
        "compilation-config.pass_config.fuse_allreduce_rms",
        "performance-mode",
    )


def test_vllm_gets_every_flag_but_ours():
    words = parse(planned(), {}).engine_args
    assert '--kv-events-config={"enable_kv_cache_events":true}' in words
    assert "--trust-remote-code" in words and "--enable-lora" in words
    assert not [word for word in words if word.startswith(("--kaito", "--engine"))]


def test_vllm_entries_of_the_file_win_over_flags_and_ours_lose_to_them(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text(
        "vllm:\n  max-model-len: 2048\n  enable-prefix-caching: false\n  swap: null\n  rope: {a: [1]}\nqueue_max: 7\n"
        "request_timeout: 9\nmax_probe_steps: 6\n"
    )
    argv = ["--model=m", "--max-model-len=auto", "--kaito-queue-max=5", f"--kaito-config-file={file}"]
    settings = parse(argv, {})
    assert settings.model.context_tokens == 2048 and not settings.model.prefix_caching
    assert settings.limits.queue_max == 5 and settings.limits.request_timeout_s == 9.0
    assert "--no-enable-prefix-caching" in settings.engine_args
    assert '--rope={"a": [1]}' in settings.engine_args


def test_an_empty_file_and_an_empty_section_are_fine(tmp_path: Path):
    file = tmp_path / "c.yaml"
    for text in ("", "vllm:\n", "vllm: {}\n"):
        file.write_text(text)
        assert parse(["--model=m", "--kaito-config-file", str(file)], {}).model.model == "m"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--max-num-seqs=many"], "--max-num-seqs (from command line): 'many', expected a whole number"),
        (["--engine=onnx"], "--engine (from command line): 'onnx', expected one of auto, vllm, transformers"),
        (["--model"], "--model: a value is missing"),
        (["serve"], "'serve': expected a flag"),
        (["--lora-modules", "x"], "--lora-modules: 'x', expected NAME=FOLDER"),
        (["--ssl-keyfile=k"], "--ssl-certfile and --ssl-keyfile: both or neither"),
        (["--kaito-config-file=/does/not/exist"], "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_told_by_name_and_value(argv: list[str], words: str):
    with pytest.raises(ArgumentError) as told:
        parse(argv, {})
    assert words in str(told.value)


def test_an_unknown_option_of_ours_in_the_file_is_refused(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("queue_maximum: 3\n")
    with pytest.raises(ArgumentError, match="queue-maximum is not an option"):
        parse([f"--kaito-config-file={file}"], {})


def test_a_local_kubelets_address_comes_over_everything():
    settings = parse(["--port=5000"], {"KAITO_BIND_ADDRESS": "127.88.0.1", "KAITO_BIND_PORT": "43001"})
    assert (settings.host, settings.port) == ("127.88.0.1", 43001)


def test_the_port_follows_the_local_rank():
    assert parse([], {"LOCAL_RANK": "2"}).port == 5002

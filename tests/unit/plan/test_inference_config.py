"""What the planner reads of inference_config.yaml is what the model server will."""

from __future__ import annotations

import pytest

from kaito.plan.inference_config import context_asked, engine_section


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("vllm:\n  max-model-len: 8192\n", 8192),
        ("vllm: {max-model-len: 8192}", 8192),
        ("vllm:\n  max_model_len: '8192'  # as text, with an underscore\n", 8192),
        ("other:\n  max-model-len: 1\nvllm:\n  max-model-len: 2\n", 2),
        ("vllm:\n  max-model-len: auto\n", None),
        ("vllm:\n  max-model-len: null\n", None),
        ("vllm: {}", None),
        ("vllm:\n  max-model-len: 0\n", None),
        ("vllm: [", None),
        ("", None),
    ],
)
def test_the_context_is_read_as_the_server_reads_it(text: str, tokens: int | None) -> None:
    assert context_asked(text) == tokens


@pytest.mark.parametrize(("text", "why"), [("vllm: [", "not YAML"), ("a: 1", "no map `vllm`"), ("vllm: 3", "no map")])
def test_a_file_that_makes_no_sense_is_told(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        engine_section(text)

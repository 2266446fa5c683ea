"""Our tool parsers read the same calls as vLLM's own, out of the same texts."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.unit.inference.test_parsers import CALLS, SCHEMAS, F
from tests.vllm.conftest import PYTHON, ROOT

# Not here: functiongemma, gemma4 and phi4_mini_json, where vLLM's parsers lose numbers or nested values; hermes and
# granite4, where they want arguments of every call; llama3_json, which wants Llama's own tokenizer.
PARSERS = (
    *("deepseek_v3", "deepseek_v31", "deepseek_v32", "deepseek_v4", "glm47", "granite", "jamba", "kimi_k2", "lfm2"),
    *("minimax_m2", "mistral", "pythonic", "qwen3_coder", "xlam"),
)


def test_the_same_calls_are_read() -> None:
    given = {"calls": {parser: CALLS[parser] for parser in PARSERS}, "schemas": SCHEMAS}
    done = subprocess.run(
        [PYTHON, str(Path(__file__).parent / "own_parsers.py")],
        input=json.dumps(given),
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer == {parser: [["f", F], ["g", {}]] for parser in PARSERS}

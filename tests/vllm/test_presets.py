"""vLLM's own parser takes the command line of every model of the catalogue, and understands what is special of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from kaito.plan.catalog import Preset, presets
from kaito.plan.desired.inference_command import ARCHITECTURE_FLAGS
from tests.unit.plan.test_desired import container
from tests.vllm.conftest import PYTHON, ROOT


def command_of(preset: Preset) -> list[str]:
    """The server's arguments; on several nodes they stand behind the shell's script."""
    made = container(preset=preset.model_id, instance_type="Standard_ND96isr_H200_v5")["command"]
    return [word for word in made[made.index("kaito.inference") + 1 :] if word]


def test_every_presets_command_line_is_one_of_vllms() -> None:
    commands = {preset.model_id: command_of(preset) for preset in presets().values()}
    done = subprocess.run(
        [PYTHON, str(Path(__file__).parent / "preset_arguments.py")],
        input=json.dumps(list(commands.values())),
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    read: dict[str, Any] = dict(zip(commands, json.loads(done.stdout.splitlines()[-1]), strict=True))
    assert {model: found for model, found in read.items() if isinstance(found, str)} == {}
    for preset in presets().values():
        found, flags = read[preset.model_id], ARCHITECTURE_FLAGS.get(preset.architecture, ())
        assert found["tokenizer_mode"] == (preset.tokenizer_mode or "auto"), preset.model_id
        assert found["kv_cache_dtype"] == ("fp8" if "--kv-cache-dtype=fp8" in flags else "auto")
        assert found["gdn_prefill_backend"] == ("triton" if "--gdn-prefill-backend=triton" in flags else "None")
        assert found["enable_expert_parallel"] == str("--enable-expert-parallel" in flags)
        assert found["tool_call_parser"] == (preset.tool_parser or "None")
        assert found["chat_template"] is bool(preset.chat_template)

"""`python preset_arguments.py < [command, …]`: what vLLM's own parser makes of the servers' command lines, as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from kaito.inference.arguments import parse
from kaito.inference.engine import EngineError
from kaito.inference.engines.vllm.internals import parse_arguments

SHOWN = ("tokenizer_mode", "kv_cache_dtype", "gdn_prefill_backend", "enable_expert_parallel", "tool_call_parser")


def read(argv: list[str]) -> dict[str, Any] | str:
    try:
        found = parse_arguments(list(parse(argv, {}).engine_args))
    except (EngineError, ValueError) as error:
        return str(error)
    return {name: str(getattr(found, name)) for name in SHOWN} | {"chat_template": bool(found.chat_template)}


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps([read(argv) for argv in json.load(sys.stdin)]) + "\n")

"""`python own_parsers.py < {"calls": {parser: text}, "schemas": …}`: what vLLM's own tool parsers read, as JSON."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.tool_parsers import ToolParserManager

from kaito.inference.engines.tiny_tokenizer import tiny_tokenizer

MARK = re.compile(r"</?[|｜a-zA-Z_▁:\"]+[|｜]?>|\[TOOL_CALLS\]|\[ARGS\]")


def read(parser: str, text: str, request: ChatCompletionRequest) -> list[Any]:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(sorted({*MARK.findall(text), "<think>", "</think>", "<|channel>", "<channel|>"}))
    found = ToolParserManager.get_tool_parser(parser)(tokenizer, request.tools).extract_tool_calls(text, request)
    return [[call.function.name, json.loads(call.function.arguments)] for call in found.tool_calls]


if __name__ == "__main__":
    given = json.load(sys.stdin)
    tools = [{"type": "function", "function": {"name": n, "parameters": s}} for n, s in given["schemas"].items()]
    request = ChatCompletionRequest(model="m", messages=[{"role": "user", "content": "x"}], tools=tools)
    answer = {parser: read(parser, text, request) for parser, text in given["calls"].items()}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")

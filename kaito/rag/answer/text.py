"""A completions endpoint behind a chat face: messages to one prompt, and its answer to a message."""

from __future__ import annotations

from typing import Any

from kaito.rag.problems import Problem

CHAT_ONLY = ("messages", "tools", "tool_choice", "functions", "function_call", "max_completion_tokens", "stream")


def completion_body(body: dict[str, Any]) -> dict[str, Any]:
    """Raises Problem (400) for what a prompt cannot say."""
    if body.get("tools") or body.get("functions"):
        raise Problem(400, "tools need a chat completions endpoint: LLM_INFERENCE_URL names a completions endpoint.")
    lines = [f"{message.get('role')}: {message.get('content') or ''}" for message in body["messages"]]
    prompt = "\n\n".join([*lines, "assistant:"])
    kept = {key: value for key, value in body.items() if key not in CHAT_ONLY}
    if "max_tokens" not in kept and (most := body.get("max_completion_tokens")) is not None:
        kept["max_tokens"] = most
    return {**kept, "prompt": prompt}


def completion_to_chat(reply: dict[str, Any]) -> dict[str, Any]:
    """Raises Problem (502) where there is no text."""
    choices = []
    for choice in reply.get("choices") or []:
        if not isinstance(choice, dict) or not isinstance(choice.get("text"), str):
            raise Problem(502, "The model server's answer has a choice without text.")
        message = {"role": "assistant", "content": choice["text"].lstrip()}
        rest = {key: value for key, value in choice.items() if key not in ("text", "logprobs")}
        choices.append({**rest, "message": message})
    return {**reply, "object": "chat.completion", "choices": choices}

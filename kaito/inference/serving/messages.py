"""A conversation as chat templates want it."""

from __future__ import annotations

from typing import Any

import msgspec

from kaito.web.openai.chat import Message
from kaito.web.openai.errors import invalid

TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}


def messages_for_template(messages: list[Message]) -> list[dict[str, Any]]:
    """Plain values, with text parts joined. Raises ApiError for a part that this model cannot read."""
    if not messages:
        raise invalid("messages: expected at least one message", param="messages")
    return [_plain(index, message) for index, message in enumerate(messages)]


def _plain(index: int, message: Message) -> dict[str, Any]:
    if type(message.content) is str and not (
        message.tool_calls or message.name or message.tool_call_id or message.reasoning or message.reasoning_content
    ):
        return {"role": message.role, "content": message.content}  # the usual case
    plain: dict[str, Any] = msgspec.to_builtins(message)
    if isinstance(message.content, list):
        plain["content"] = "\n".join(_text(index, place, part) for place, part in enumerate(message.content))
    plain.setdefault("content", None)
    if plain["content"] is None and not message.tool_calls:
        if message.role != "assistant":
            raise invalid(f"messages[{index}].content is missing", param=f"messages[{index}].content")
        plain["content"] = ""
    for call in plain.get("tool_calls") or []:
        call["function"]["arguments"] = _arguments(call["function"]["arguments"])
    return plain


def _arguments(text: str) -> Any:
    """Templates want the object; what is not JSON stays as it was written."""
    try:
        return msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return text


def _text(index: int, place: int, part: dict[str, Any]) -> str:
    kind = part.get("type")
    text = part.get(TEXT_PARTS[kind]) if isinstance(kind, str) and kind in TEXT_PARTS else None
    if isinstance(text, str):
        return text
    where = f"messages[{index}].content[{place}]"
    if isinstance(kind, str) and kind in TEXT_PARTS:
        raise invalid(f"{where}.{TEXT_PARTS[kind]} is missing or is not text", param=where)
    raise invalid(
        f"{where}: this model reads text only, and the part has type {kind!r}. Send text parts, or choose a model that "
        "reads images or audio.",
        param=where,
    )

"""What a chat request asks for: to be passed through, or to be grounded in an index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from kaito.rag.problems import Problem

OWN_FIELDS = ("index_name", "context_token_ratio")  # ours, not the model server's
RATIO_MIN, RATIO_MAX = 0.2, 0.8
PLAIN_ROLES = frozenset({"user", "system", "assistant", "developer"})
TOOL_ROLES = frozenset({"tool", "function"})


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """`body`: for the model server, without our own fields. `index_name` None: pass through."""

    body: dict[str, Any]
    index_name: str | None
    ratio: float | None

    @property
    def is_stream(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def tokens_max(self) -> int | None:
        for key in ("max_completion_tokens", "max_tokens"):
            value = self.body.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Conversation:
    """`query`: what to look for. `messages`: those that follow the context, the query among them."""

    query: str
    messages: list[dict[str, Any]]
    texts: list[str]


def read_chat(data: bytes) -> ChatRequest:
    """Raises Problem (400, 422)."""
    try:
        body = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise Problem(422, [{"type": "json_invalid", "loc": ["body"], "msg": str(error), "input": None}]) from None
    if not isinstance(body, dict):
        raise Problem(422, [{"type": "dict_type", "loc": ["body"], "msg": "expected a JSON object", "input": None}])
    name, ratio = body.get("index_name"), body.get("context_token_ratio")
    if name is not None and not isinstance(name, str):
        raise _field("index_name", "expected a string")
    if ratio is not None and (isinstance(ratio, bool) or not isinstance(ratio, int | float)):
        raise _field("context_token_ratio", "expected a number")
    if not isinstance(body.get("stream", False), bool | None):
        raise _field("stream", "expected true or false")
    if ratio and not RATIO_MIN <= ratio <= RATIO_MAX:
        raise Problem(400, f"context_token_ratio={ratio} must be between {RATIO_MIN} and {RATIO_MAX}.")
    forwarded = {key: value for key, value in body.items() if key not in OWN_FIELDS}
    return ChatRequest(forwarded, name or None, float(ratio) if ratio else None)


def _field(name: str, message: str) -> Problem:
    return Problem(422, [{"type": "value_error", "loc": ["body", name], "msg": message, "input": None}])


def conversation_of(body: dict[str, Any]) -> Conversation | None:
    """None: there is more to the messages than text, so they are passed through. Raises Problem (400)."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise Problem(400, "Invalid request format: messages must be a list of at least one message.")
    has_tools = False
    for message in messages:
        role = message.get("role")
        if not role:
            raise Problem(400, "Invalid request format: messages must contain 'role'.")
        if role in TOOL_ROLES:
            has_tools = True
        elif role not in PLAIN_ROLES:
            return None
        content = message.get("content")
        if content is None and role != "assistant":
            raise Problem(400, f"Invalid request format: messages must contain 'content' for role '{role}'.")
        if role == "user" and _text(content) is None:
            return None
        if role == "user" and not _text(content):
            raise Problem(400, "Invalid request format: user messages must contain 'content'.")
    texts = [_text(message.get("content")) or "" for message in messages]
    return _with_tools(messages, texts) if has_tools else _plain(messages, texts)


def _plain(messages: list[dict[str, Any]], texts: list[str]) -> Conversation:
    """The user's messages since the last answer are one query, at the end; all else is history, in order."""
    last_answer = max((at for at, one in enumerate(messages) if one["role"] == "assistant"), default=-1)
    asked = [at for at, one in enumerate(messages) if one["role"] == "user" and at > last_answer]
    query = "\n\n".join(texts[at] for at in asked)
    if not query.strip():
        raise Problem(400, "There must be a user prompt since the latest assistant message.")
    history = [one for at, one in enumerate(messages) if at not in asked]
    return Conversation(query, [*history, {"role": "user", "content": query}], texts)


def _with_tools(messages: list[dict[str, Any]], texts: list[str]) -> Conversation:
    """Calls and their results must stay where they are; the last user message is the query."""
    asked = [text for one, text in zip(messages, texts, strict=True) if one["role"] == "user"]
    if not asked:
        raise Problem(400, "There must be a user prompt since the latest assistant message.")
    return Conversation(asked[-1], messages, texts)


def _text(content: Any) -> str | None:
    """The text of a message's content; None where there is more to it than text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    pieces: list[str] = []
    for part in content:
        if isinstance(part, str):
            pieces.append(part)
        elif isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
            pieces.append(part["text"])
        else:
            return None
    return "\n".join(pieces)

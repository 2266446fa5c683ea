"""Responses over tokens: output items whole, or as the events that they grow by."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from kaito.inference.engine import Call, Write
from kaito.inference.generation import Delta
from kaito.inference.serving.chat import Chat
from kaito.inference.serving.parts import Part
from kaito.inference.serving.responses_input import chat_request_of
from kaito.web import sse
from kaito.web.openai.decode import decode
from kaito.web.openai.errors import ApiError
from kaito.web.openai.responses import ResponsesRequest

if TYPE_CHECKING:
    from kaito.inference.serving.token_serving import TokenServing

RESPONSES = msgspec.json.Decoder(ResponsesRequest)
encode = msgspec.json.Encoder().encode


async def responses_of(serving: TokenServing, body: bytes, call: Call) -> Responses:
    """Raises ApiError."""
    request = decode(body, RESPONSES)
    return Responses(request, await serving.chat(chat_request_of(request), call), f"resp_{call.request_id}")


@dataclass(slots=True)
class Item:
    """An output item that grows. `text` is reasoning, an answer, or a call's arguments."""

    kind: str  # reasoning, message or function_call
    id: str
    text: str = ""
    call_id: str = ""
    name: str = ""

    def shown(self, *, is_done: bool) -> dict[str, Any]:
        status = "completed" if is_done else "in_progress"
        match self.kind:
            case "reasoning":
                content = [{"type": "reasoning_text", "text": self.text}] if is_done else []
                return {"id": self.id, "type": "reasoning", "summary": [], "content": content, "status": status}
            case "message":
                parts = [_output_text(self.text)] if is_done else []
                return {"id": self.id, "type": "message", "role": "assistant", "status": status, "content": parts}
        call = {"call_id": self.call_id, "name": self.name, "arguments": self.text if is_done else ""}
        return {"id": self.id, "type": "function_call", "status": status, **call}


@dataclass(slots=True)
class Responses:
    """One request that has been checked."""

    request: ResponsesRequest
    chat: Chat
    id: str
    _items: list[Item] = field(default_factory=list)
    _frames: list[bytes] = field(default_factory=list)
    _finish: str = ""
    _number: int = 0
    _is_open: bool = False  # whether the last item still grows

    async def whole(self) -> bytes:
        await self.chat.each_part(self._take)
        self._close()
        return encode(self._response(self._status()))

    async def pump(self, write: Write) -> None:
        def take(part: Part, delta: Delta) -> None:
            self._take(part, delta)
            write(self._drained())

        self._say("response.created", response=self._response("in_progress"))
        self._say("response.in_progress", response=self._response("in_progress"))
        write(self._drained())
        try:
            await self.chat.each_part(take)
        except ApiError as error:
            failed = self._response("failed") | {"error": {"code": "server_error", "message": error.message}}
            self._say("response.failed", response=failed)
            write(self._drained())
            return
        self._close()
        self._say(f"response.{self._status()}", response=self._response(self._status()))
        write(self._drained())

    def _take(self, part: Part, delta: Delta) -> None:
        self._finish = delta.finish or self._finish
        if part.reasoning:
            self._grow("reasoning", part.reasoning)
        if part.content:
            self._grow("message", part.content)
        for call in part.calls:
            if call.id:
                self._begin(Item("function_call", _new_id("fc"), call_id=call.id, name=call.name))
            if call.arguments:
                self._grow("function_call", call.arguments)

    def _grow(self, kind: str, text: str) -> None:
        if not self._is_open or self._items[-1].kind != kind:
            self._begin(Item(kind, _new_id({"reasoning": "rs", "message": "msg"}.get(kind, "fc"))))
        item = self._items[-1]
        item.text += text
        event = {
            "reasoning": "response.reasoning_text.delta",
            "message": "response.output_text.delta",
            "function_call": "response.function_call_arguments.delta",
        }[kind]
        self._say(event, **self._place(kind), delta=text, **({"logprobs": []} if kind == "message" else {}))

    def _begin(self, item: Item) -> None:
        self._close()
        self._items.append(item)
        self._is_open = True
        self._say("response.output_item.added", output_index=len(self._items) - 1, item=item.shown(is_done=False))
        if item.kind == "message":
            self._say("response.content_part.added", **self._place("message"), part=_output_text(""))

    def _close(self) -> None:
        """Ends the item that grows, if one does."""
        if not self._is_open:
            return
        self._is_open = False
        item = self._items[-1]
        place = self._place(item.kind)
        match item.kind:
            case "message":
                self._say("response.output_text.done", **place, text=item.text, logprobs=[])
                self._say("response.content_part.done", **place, part=_output_text(item.text))
            case "reasoning":
                self._say("response.reasoning_text.done", **place, text=item.text)
            case _:
                self._say("response.function_call_arguments.done", **place, name=item.name, arguments=item.text)
        self._say("response.output_item.done", output_index=len(self._items) - 1, item=item.shown(is_done=True))

    def _place(self, kind: str) -> dict[str, Any]:
        place: dict[str, Any] = {"item_id": self._items[-1].id, "output_index": len(self._items) - 1}
        return place if kind == "function_call" else place | {"content_index": 0}

    def _say(self, event: str, **fields: Any) -> None:
        payload = {"type": event, "sequence_number": self._number, **fields}
        self._number += 1
        self._frames.append(sse.frame(encode(payload), event=event.encode()))

    def _drained(self) -> bytes:
        frames, self._frames = b"".join(self._frames), []
        return frames

    def _status(self) -> str:
        return "incomplete" if self._finish == "length" else "completed"

    def _response(self, status: str) -> dict[str, Any]:
        request, run = self.request, self.chat.run
        tokens = {
            "input_tokens": run.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": run.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": run.prompt_tokens + run.completion_tokens,
        }
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.chat.created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "metadata": request.metadata or {},
            "model": self.chat.model,
            "output": [] if status == "in_progress" else [item.shown(is_done=True) for item in self._items],
            "parallel_tool_calls": request.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": request.reasoning,
            "store": False,
            "temperature": request.temperature,
            "text": request.text or {"format": {"type": "text"}},
            "tool_choice": request.tool_choice or "auto",
            "tools": request.tools or [],
            "top_p": request.top_p,
            "truncation": "disabled",
            "usage": None if status == "in_progress" else tokens,
        }


def _output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(16)}"

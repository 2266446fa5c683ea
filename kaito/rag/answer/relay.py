"""A streamed answer from the model server to the client, with its sources before the end and through the guardrails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from kaito.rag.answer.chat import TEXTS
from kaito.rag.guardrails.guard import Guard
from kaito.rag.guardrails.policy import Policy, StreamGuard
from kaito.web import sse

DONE = "[DONE]"


def error_event(message: str) -> bytes:
    return sse.frame(msgspec.json.encode({"error": {"message": message, "type": "server_error", "code": None}}))


async def relay(
    response: aiohttp.ClientResponse, sources: list[dict[str, Any]] | None, guarded: GuardedStream | None
) -> AsyncIterator[bytes]:
    """Bytes for the client as they come. Without sources and guardrails they are the server's own, untouched."""
    try:
        if sources is None and guarded is None:
            async for piece in response.content.iter_any():
                yield piece
            return
        async for piece in _rewritten(response, sources, guarded):
            yield piece
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        yield error_event(f"The answer broke off: {error}") + sse.DONE


async def _rewritten(
    response: aiohttp.ClientResponse, sources: list[dict[str, Any]] | None, guarded: GuardedStream | None
) -> AsyncIterator[bytes]:
    decoder = sse.EventDecoder()
    last: dict[str, Any] = {}
    async for piece in response.content.iter_any():
        out: list[bytes] = []
        for event in decoder.feed(piece):
            if event.data == DONE:
                yield b"".join(out) + await _ending(last, sources, guarded)
                return
            chunk = _chunk(event.data)
            if chunk is None:
                if guarded is None:
                    out.append(sse.frame(event.data.encode()))
                    continue
                yield error_event("The model server's stream is malformed; guardrails cannot judge it.") + sse.DONE
                return
            last = chunk
            if guarded is None:
                out.append(sse.frame(event.data.encode()))
                continue
            out += [sse.frame(msgspec.json.encode(one)) for one in await guarded.filter(chunk)]
            if guarded.is_over:
                yield b"".join(out) + await _ending(last, sources, guarded)
                return
        if out:
            yield b"".join(out)
    yield await _ending(last, sources, guarded)


async def _ending(last: dict[str, Any], sources: list[dict[str, Any]] | None, guarded: GuardedStream | None) -> bytes:
    frames = [] if guarded is None else [sse.frame(msgspec.json.encode(one)) for one in await guarded.flush(last)]
    if sources is not None:
        frames.append(sse.frame(msgspec.json.encode({**_envelope(last), "choices": [], "source_nodes": sources})))
    return b"".join(frames) + sse.DONE


def _envelope(chunk: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {key: chunk[key] for key in ("id", "created", "model", "system_fingerprint") if key in chunk}
    return {**kept, "object": "chat.completion.chunk"}


def _chunk(data: str) -> dict[str, Any] | None:
    try:
        chunk = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return None
    return chunk if isinstance(chunk, dict) else None


@dataclass(slots=True)
class GuardedStream:
    """Each text of each choice goes through a guard of its own. A block ends that choice with `content_filter`."""

    guard: Guard
    policy: Policy
    _streams: dict[tuple[int, str], StreamGuard] = field(default_factory=dict)
    _finished: set[int] = field(default_factory=set)
    _blocked: set[int] = field(default_factory=set)
    _is_counted: bool = False

    @property
    def is_over(self) -> bool:
        """Every choice that has begun was blocked: what the server still says is of no use."""
        begun = {index for index, _ in self._streams}
        return bool(self._blocked) and begun <= self._blocked

    async def filter(self, chunk: dict[str, Any]) -> list[dict[str, Any]]:
        """What may be said of this chunk."""
        kept: list[dict[str, Any]] = []
        for choice in chunk.get("choices") or []:
            kept += await self._choice(choice)
        if kept or not chunk.get("choices"):
            return [{**chunk, "choices": kept}]
        return []

    async def _choice(self, choice: dict[str, Any]) -> list[dict[str, Any]]:
        index = int(choice.get("index") or 0)
        if index in self._blocked:
            return []
        delta = dict(choice.get("delta") or {})
        is_last = choice.get("finish_reason") is not None
        keys = [key for key in TEXTS if isinstance(delta.get(key), str) or (is_last and (index, key) in self._streams)]
        for key in keys:
            stream = self._streams.setdefault((index, key), self.policy.stream())
            text = await self.guard.feed(stream, delta.get(key) or "", is_last=is_last)
            if stream.is_blocked:
                self._blocked.add(index)
                return [self._refusal(index)]
            if text or delta.get(key) == "":
                delta[key] = text
            else:
                delta.pop(key, None)
        if is_last:
            self._finished.add(index)
        rest = {key: value for key, value in choice.items() if key not in ("delta", "logprobs")}
        return [{**rest, "delta": delta}] if delta or is_last else []

    def _refusal(self, index: int) -> dict[str, Any]:
        return {"index": index, "delta": {"content": self.policy.block_message}, "finish_reason": "content_filter"}

    async def flush(self, last: dict[str, Any]) -> list[dict[str, Any]]:
        """What was still held back when the stream ended without a finish."""
        chunks: list[dict[str, Any]] = []
        for (index, key), stream in self._streams.items():
            if index in self._finished or index in self._blocked:
                continue
            text = await self.guard.feed(stream, "", is_last=True)
            if stream.is_blocked:
                self._blocked.add(index)
                chunks.append({**_envelope(last), "choices": [self._refusal(index)]})
            elif text:
                choice = {"index": index, "delta": {key: text}, "finish_reason": None}
                chunks.append({**_envelope(last), "choices": [choice]})
        if not self._is_counted:
            self._is_counted = True
            self.guard.finished([hit for stream in self._streams.values() for hit in stream.hits])
        return chunks

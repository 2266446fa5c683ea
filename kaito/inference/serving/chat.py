"""Chat completions over tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from kaito.inference.engine import Write
from kaito.inference.generation import Delta, Tokenizer, TokenLogprob
from kaito.inference.serving.run import Run
from kaito.web import sse
from kaito.web.openai.chat import (
    AssistantMessage,
    ChatCompletion,
    ChatRequest,
    Choice,
    ChoiceLogprobs,
    ContentLogprob,
    Message,
    TopLogprob,
)
from kaito.web.openai.common import usage
from kaito.web.openai.errors import ApiError, error_body, invalid

encode = msgspec.json.Encoder().encode


def messages_for_template(messages: list[Message]) -> list[dict[str, Any]]:
    """Plain values, with text parts joined. Raises ApiError for a part that this model cannot read."""
    if not messages:
        raise invalid("messages: expected at least one message", param="messages")
    return [_plain(index, message) for index, message in enumerate(messages)]


def _plain(index: int, message: Message) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(message)
    if isinstance(message.content, list):
        plain["content"] = "\n".join(_text(index, place, part) for place, part in enumerate(message.content))
    plain.setdefault("content", None)
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
    if kind in ("text", "input_text", "output_text", "refusal"):
        text = part.get("refusal" if kind == "refusal" else "text")
        if isinstance(text, str):
            return text
    where = f"messages[{index}].content[{place}]"
    raise invalid(
        f"{where}: this model reads text only, and the part has type {kind!r}. Send text parts, or choose a model that "
        "reads images or audio.",
        param=where,
    )


@dataclass(slots=True)
class Chat:
    """One request that has been checked, ready to be answered whole or in pieces."""

    request: ChatRequest
    run: Run
    id: str
    created: int
    model: str
    tokenizer: Tokenizer

    async def whole(self) -> bytes:
        gathered = [Gathered() for _ in range(self.run.choices)]

        def take(deltas: list[tuple[int, Delta]]) -> None:
            for index, delta in deltas:
                gathered[index].add(delta)

        await self.run.until_done(take)
        completion = ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[self._choice(index, found) for index, found in enumerate(gathered)],
            usage=usage(self.run.prompt_tokens, self.run.completion_tokens),
        )
        if self.request.return_token_ids:
            completion.prompt_token_ids = self.run.prompts[0]
        return encode(completion)

    def _choice(self, index: int, found: Gathered) -> Choice:
        choice = Choice(
            index=index,
            message=AssistantMessage(content=found.text),
            finish_reason=found.finish,
            stop_reason=found.stop_reason,
        )
        if self.request.logprobs:
            choice.logprobs = ChoiceLogprobs([content_logprob(entry, self.tokenizer) for entry in found.logprobs])
        if self.request.return_token_ids:
            choice.token_ids = found.tokens
        return choice

    async def pump(self, write: Write) -> None:
        """The same as events."""
        options = self.request.stream_options
        with_usage = bool(options and options.include_usage)
        running_usage = bool(options and options.continuous_usage_stats)
        tail = b',"usage":null}\n\n' if with_usage else b"}\n\n"
        start = encode({"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model})
        head = b"data: " + start[:-1] + b',"choices":[{"index":%d,"delta":'
        simple = not self.request.logprobs and not self.request.return_token_ids

        def take(deltas: list[tuple[int, Delta]]) -> None:
            frames = []
            for index, delta in deltas:
                if simple and delta.finish is None and not running_usage:
                    frames.append(
                        b'%s{"content":%s},"finish_reason":null}]%s' % (head % index, encode(delta.text), tail)
                    )
                else:
                    frames.append(head % index + self._rest(delta) + (self._running() if running_usage else tail))
            write(b"".join(frames))

        roles = [
            head % index + b'{"role":"assistant","content":""},"finish_reason":null}]' + tail
            for index in range(self.run.choices)
        ]
        write(b"".join(roles))
        try:
            await self.run.until_done(take)
        except ApiError as error:
            write(sse.frame(error_body(error)) + sse.DONE)
            return
        last = b""
        if with_usage:
            total = encode(usage(self.run.prompt_tokens, self.run.completion_tokens))
            last = b"data: " + start[:-1] + b',"choices":[],"usage":' + total + b"}\n\n"
        write(last + sse.DONE)

    def _rest(self, delta: Delta) -> bytes:
        """A chunk's choice from its delta on, with whatever was asked for."""
        fields: dict[str, Any] = {"finish_reason": delta.finish}
        if delta.finish:
            fields["stop_reason"] = delta.stop_reason
        if self.request.logprobs:
            entries = [content_logprob(entry, self.tokenizer) for entry in delta.logprobs or []]
            fields["logprobs"] = ChoiceLogprobs(entries)
        if self.request.return_token_ids:
            fields["token_ids"] = delta.tokens
        content = {"content": delta.text} if delta.text or not delta.finish else {}
        return encode(content) + b"," + encode(fields)[1:] + b"]"

    def _running(self) -> bytes:
        total = encode(usage(self.run.prompt_tokens, self.run.completion_tokens))
        return b',"usage":' + total + b"}\n\n"


@dataclass(slots=True)
class Gathered:
    """What a sequence has said so far."""

    pieces: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprob | None] | None = None
    finish: Any = None
    stop_reason: str | int | None = None

    def add(self, delta: Delta) -> None:
        self.pieces.append(delta.text)
        self.tokens += delta.tokens
        if delta.logprobs:
            self.logprobs += delta.logprobs
        if delta.prompt_logprobs is not None:
            self.prompt_logprobs = delta.prompt_logprobs
        if delta.finish is not None:
            self.finish, self.stop_reason = delta.finish, delta.stop_reason

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def content_logprob(entry: TokenLogprob, tokenizer: Tokenizer) -> ContentLogprob:
    token = _spelled(entry.token, tokenizer)
    top = [TopLogprob(text := _spelled(other, tokenizer), logprob, list(text.encode())) for other, logprob in entry.top]
    return ContentLogprob(token, entry.logprob, list(token.encode()), top)


def _spelled(token: int, tokenizer: Tokenizer) -> str:
    return tokenizer.decode([token], skip_special_tokens=False)

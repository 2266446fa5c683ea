"""Chat completions over tokens: one request that has been checked, answered whole or in pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kaito.inference.engine import Write
from kaito.inference.generation import Delta, Tokenizer, TokenLogprob
from kaito.inference.serving.gathered import Gathered
from kaito.inference.serving.parts import Part, Parts
from kaito.inference.serving.reasoning import Marks
from kaito.inference.serving.run import Run
from kaito.inference.serving.tools import NO_TOOLS, ToolPlan
from kaito.web import sse
from kaito.web.openai.chat import (
    AssistantMessage,
    ChatCompletion,
    ChatRequest,
    Choice,
    ChoiceLogprobs,
    ContentLogprob,
    FunctionCall,
    ToolCall,
    TopLogprob,
)
from kaito.web.openai.common import usage
from kaito.web.openai.errors import ApiError, error_body

encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Chat:
    """`marks`: how the model marks its reasoning, where that is told apart."""

    request: ChatRequest
    run: Run
    id: str
    created: int
    model: str
    tokenizer: Tokenizer
    marks: Marks | None = None
    tools: ToolPlan = NO_TOOLS
    _parts: list[Parts] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self._is_taken_apart:
            self._parts = [Parts(self.marks, self.tools) for _ in range(self.run.choices)]

    @property
    def _is_taken_apart(self) -> bool:
        return self.marks is not None or self.tools is not NO_TOOLS

    def _part(self, index: int, text: str, *, is_last: bool) -> tuple[Part, bool]:
        """What the text adds to the choice, and whether it has called a tool."""
        if not self._parts:
            return Part(text), False
        parts = self._parts[index]
        return parts.feed(text, is_last=is_last), parts.ends_with_calls

    async def whole(self) -> bytes:
        return encode(await self.completion())

    async def completion(self) -> ChatCompletion:
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
        return completion

    def _choice(self, index: int, found: Gathered) -> Choice:
        part, has_called = self._part(index, found.text, is_last=True)
        choice = Choice(
            index=index,
            message=self._message(part),
            finish_reason="tool_calls" if has_called and found.finish == "stop" else found.finish,
            stop_reason=found.stop_reason,
        )
        if self.request.logprobs:
            choice.logprobs = ChoiceLogprobs([content_logprob(entry, self.tokenizer) for entry in found.logprobs])
        if self.request.return_token_ids:
            choice.token_ids = found.tokens
        return choice

    def _message(self, part: Part) -> AssistantMessage:
        calls: list[ToolCall] = []
        for call in part.calls:
            if call.id:
                calls.append(ToolCall(id=call.id, function=FunctionCall(name=call.name, arguments=call.arguments)))
            else:
                calls[-1].function.arguments += call.arguments
        message = AssistantMessage(content=part.content or (None if calls else ""), tool_calls=calls or None)
        if part.reasoning and self.request.include_reasoning is not False:
            message.reasoning = message.reasoning_content = part.reasoning
        return message

    async def each_part(self, on_part: Callable[[Part, Delta], None]) -> None:
        """The only choice's parts as they come, for other forms of answers. Raises ApiError."""

        def take(deltas: list[tuple[int, Delta]]) -> None:
            for index, delta in deltas:
                part, _ = self._part(index, delta.text, is_last=delta.finish is not None)
                on_part(part, delta)

        await self.run.until_done(take)

    async def pump(self, write: Write) -> None:
        """The same as events."""
        options = self.request.stream_options
        with_usage = bool(options and options.include_usage)
        running_usage = bool(options and options.continuous_usage_stats)
        tail = b',"usage":null}\n\n' if with_usage else b"}\n\n"
        start = encode({"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model})
        opening = b"data: " + start[:-1] + b',"choices":'
        heads = [opening + b'[{"index":%d,"delta":' % index for index in range(self.run.choices)]
        # The usual chunk is a template around its text: everything else takes the long way.
        usual = [head + b'{"content":' for head in heads]
        usual_tail = b'},"finish_reason":null}]' + tail
        is_usual = not (self.request.logprobs or self.request.return_token_ids or running_usage or self._is_taken_apart)

        def take(deltas: list[tuple[int, Delta]]) -> None:
            if is_usual and len(deltas) == 1 and deltas[0][1].finish is None:
                index, delta = deltas[0]
                write(usual[index] + encode(delta.text) + usual_tail)
                return
            frames: list[bytes] = []
            for index, delta in deltas:
                if is_usual and delta.finish is None:
                    frames += (usual[index], encode(delta.text), usual_tail)
                else:
                    rest = self._rest(index, delta)
                    if rest is not None:
                        frames += (heads[index], rest, self._running() if running_usage else tail)
            write(b"".join(frames))

        first = b'{"role":"assistant","content":""},"finish_reason":null}]' + tail
        write(b"".join(head + first for head in heads))
        try:
            await self.run.until_done(take)
        except ApiError as error:
            write(sse.frame(error_body(error)) + sse.DONE)
            return
        last = opening + b"[]" + self._running() if with_usage else b""
        write(last + sse.DONE)

    def _rest(self, index: int, delta: Delta) -> bytes | None:
        """A chunk's choice from its delta on, with whatever was asked for; None where it would say nothing."""
        part, has_called = self._part(index, delta.text, is_last=delta.finish is not None)
        said = self._delta(part)
        finish = "tool_calls" if has_called and delta.finish == "stop" else delta.finish
        if not said and not finish and not self.request.logprobs and not self.request.return_token_ids:
            return None
        fields: dict[str, Any] = {"finish_reason": finish}
        if finish:
            fields["stop_reason"] = delta.stop_reason
        if self.request.logprobs:
            entries = [content_logprob(entry, self.tokenizer) for entry in delta.logprobs or []]
            fields["logprobs"] = ChoiceLogprobs(entries)
        if self.request.return_token_ids:
            fields["token_ids"] = delta.tokens
        return encode(said) + b"," + encode(fields)[1:] + b"]"

    def _delta(self, part: Part) -> dict[str, Any]:
        said: dict[str, Any] = {}
        if part.content:
            said["content"] = part.content
        if part.reasoning and self.request.include_reasoning is not False:
            said["reasoning"] = said["reasoning_content"] = part.reasoning
        if part.calls:
            said["tool_calls"] = [
                {"index": call.index, "id": call.id, "type": "function", "function": _named(call.name, call.arguments)}
                if call.id
                else {"index": call.index, "function": {"arguments": call.arguments}}
                for call in part.calls
            ]
        return said

    def _running(self) -> bytes:
        total = encode(usage(self.run.prompt_tokens, self.run.completion_tokens))
        return b',"usage":' + total + b"}\n\n"


def _named(name: str, arguments: str) -> dict[str, str]:
    return {"name": name, "arguments": arguments}


def content_logprob(entry: TokenLogprob, tokenizer: Tokenizer) -> ContentLogprob:
    token = _spelled(entry.token, tokenizer)
    top = [TopLogprob(text := _spelled(other, tokenizer), logprob, list(text.encode())) for other, logprob in entry.top]
    return ContentLogprob(token, entry.logprob, list(token.encode()), top)


def _spelled(token: int, tokenizer: Tokenizer) -> str:
    return tokenizer.decode([token], skip_special_tokens=False)

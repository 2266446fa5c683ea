"""Completions over tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from kaito.inference.engine import Write
from kaito.inference.generation import Delta, Tokenizer, TokenLogprob
from kaito.inference.serving.gathered import Gathered
from kaito.inference.serving.inputs import nothing, texts_or_tokens
from kaito.inference.serving.run import Run
from kaito.web import sse
from kaito.web.openai.common import usage
from kaito.web.openai.completions import Choice, Completion, CompletionRequest, Logprobs
from kaito.web.openai.errors import ApiError, error_body

encode = msgspec.json.Encoder().encode
PROMPTS_MAX = 256


def prompts_of(request: CompletionRequest, tokenizer: Tokenizer) -> list[list[int]]:
    """Token ids of every prompt. Raises ApiError."""
    special = request.add_special_tokens is not False
    size = tokenizer.vocabulary_size
    items = texts_or_tokens(request.prompt, "prompt", items_max=PROMPTS_MAX, vocabulary_size=size)
    found = [tokenizer.encode(item, add_special_tokens=special) if isinstance(item, str) else item for item in items]
    for index, tokens in enumerate(found):
        if not tokens:
            raise nothing("prompt" if len(found) == 1 else f"prompt[{index}]", "prompt")
    return found


@dataclass(slots=True)
class Text:
    """One request that has been checked, ready to be answered whole or in pieces."""

    request: CompletionRequest
    run: Run
    id: str
    created: int
    model: str
    tokenizer: Tokenizer
    echoes: list[str]  # each prompt's text, empty where it is not asked for
    _offsets: dict[int, int] = field(default_factory=dict)  # of the text so far, by choice

    async def whole(self) -> bytes:
        gathered = [Gathered() for _ in range(len(self.run.prompts) * self.run.choices)]

        def take(deltas: list[tuple[int, Delta]]) -> None:
            for index, delta in deltas:
                gathered[index].add(delta)

        await self.run.until_done(take)
        completion = Completion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[self._choice(index, found) for index, found in enumerate(gathered)],
            usage=usage(self.run.prompt_tokens, self.run.completion_tokens),
        )
        return encode(completion)

    def _choice(self, index: int, found: Gathered) -> Choice:
        echo = self.echoes[index // self.run.choices]
        choice = Choice(index=index, text=echo + found.text, finish_reason=found.finish, stop_reason=found.stop_reason)
        if self.request.logprobs is not None:
            entries = [*self._of_prompt(index, found.prompt_logprobs), *found.logprobs]
            choice.logprobs = self._logprobs(index, entries)
        if self.request.return_token_ids:
            choice.token_ids = found.tokens
            choice.prompt_token_ids = self.run.prompts[index // self.run.choices]
        return choice

    async def pump(self, write: Write) -> None:
        options = self.request.stream_options
        with_usage = bool(options and options.include_usage)
        running_usage = bool(options and options.continuous_usage_stats)
        start = encode({"id": self.id, "object": "text_completion", "created": self.created, "model": self.model})
        head = b"data: " + start[:-1] + b',"choices":[{"index":%d,"text":'
        tail = b',"usage":null}\n\n' if with_usage else b"}\n\n"
        simple = self.request.logprobs is None and not self.request.return_token_ids
        unechoed = {index for index in range(len(self.run.prompts) * self.run.choices) if self.request.echo}

        def take(deltas: list[tuple[int, Delta]]) -> None:
            frames = []
            for index, delta in deltas:
                if simple and delta.finish is None and not running_usage and index not in unechoed:
                    frames.append(
                        b'%s%s,"logprobs":null,"finish_reason":null}]%s' % (head % index, encode(delta.text), tail)
                    )
                    continue
                echo = ""
                if index in unechoed:
                    unechoed.discard(index)
                    echo = self.echoes[index // self.run.choices]
                ending = self._running() if running_usage else tail
                frames.append(head % index + self._rest(index, delta, echo) + ending)
            write(b"".join(frames))

        try:
            await self.run.until_done(take)
        except ApiError as error:
            write(sse.frame(error_body(error)) + sse.DONE)
            return
        last = b""
        if with_usage:
            last = b"data: " + start[:-1] + b',"choices":[]' + self._running()
        write(last + sse.DONE)

    def _running(self) -> bytes:
        total = encode(usage(self.run.prompt_tokens, self.run.completion_tokens))
        return b',"usage":' + total + b"}\n\n"

    def _rest(self, index: int, delta: Delta, echo: str) -> bytes:
        fields: dict[str, Any] = {"logprobs": None, "finish_reason": delta.finish}
        if delta.finish:
            fields["stop_reason"] = delta.stop_reason
        if self.request.logprobs is not None:
            entries = [*self._of_prompt(index, delta.prompt_logprobs), *(delta.logprobs or [])]
            fields["logprobs"] = self._logprobs(index, entries)
        if self.request.return_token_ids:
            fields["token_ids"] = delta.tokens
        return encode(echo + delta.text) + b"," + encode(fields)[1:] + b"]"

    def _of_prompt(self, index: int, entries: list[TokenLogprob | None] | None) -> list[TokenLogprob | int]:
        """The echoed prompt's entries; its first token, which nothing came before, as the bare token."""
        if entries is None or not self.request.echo:
            return []
        prompt = self.run.prompts[index // self.run.choices]
        return [prompt[place] if entry is None else entry for place, entry in enumerate(entries)]

    def _logprobs(self, index: int, entries: list[TokenLogprob | int]) -> Logprobs:
        found = Logprobs([], [], [], [] if self.request.logprobs else None)
        offset = self._offsets.get(index, 0)
        for entry in entries:
            token = entry if isinstance(entry, int) else entry.token
            text = self.tokenizer.decode([token], skip_special_tokens=False)
            found.tokens.append(text)
            found.text_offset.append(offset)
            found.token_logprobs.append(None if isinstance(entry, int) else entry.logprob)
            if found.top_logprobs is not None:
                found.top_logprobs.append(None if isinstance(entry, int) else self._top(entry))
            offset += len(text)
        self._offsets[index] = offset
        return found

    def _top(self, entry: TokenLogprob) -> dict[str, float]:
        """The most probable tokens and the chosen one: up to logprobs + 1 entries, as OpenAI has it."""
        spelled: dict[str, float] = {}
        for token, value in (*entry.top, (entry.token, entry.logprob)):
            spelled.setdefault(self.tokenizer.decode([token], skip_special_tokens=False), value)
        return spelled

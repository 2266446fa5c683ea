"""One choice's text taken apart as it comes: reasoning, answer, tool calls."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import msgspec

from kaito.inference.serving.call_readers import CallDelta
from kaito.inference.serving.harmony import HarmonySplitter
from kaito.inference.serving.reasoning import Marks, ReasoningSplitter
from kaito.inference.serving.tool_parsers import ToolSplitter
from kaito.inference.serving.tools import ToolPlan


@dataclass(frozen=True, slots=True)
class CallPart:
    """The beginning of a call (with `id` and `name`), or more of its arguments."""

    index: int
    arguments: str
    id: str = ""
    name: str = ""


class Part(msgspec.Struct):
    content: str = ""
    reasoning: str = ""
    calls: list[CallPart] = []


class Parts:
    """`feed` every piece, the last with `is_last`. `marks`: None where reasoning is not told apart."""

    def __init__(self, marks: Marks | None, plan: ToolPlan) -> None:
        notation = plan.notation
        self._plan = plan
        self._opening = marks.start if marks is not None and marks.is_kept else ""
        self._harmony: HarmonySplitter | None = None
        self._reasoning: ReasoningSplitter | None = None
        self._tools: ToolSplitter | None = None
        if (marks is not None and marks.is_harmony) or (notation is not None and notation.is_harmony):
            self._harmony = HarmonySplitter()
        else:
            if marks is not None and not marks.is_kept:
                self._reasoning = ReasoningSplitter(marks, notation.start if notation is not None else "")
            if notation is not None:
                self._tools = ToolSplitter(notation, plan.schemas)
        self.calls = 0
        self._is_dropping = False  # a call beyond those that are wanted

    def feed(self, text: str, *, is_last: bool) -> Part:
        if self._plan.named:
            return Part(calls=self._named(text))
        reasoning, content, called = self._split(text)
        if is_last:
            more, rest, others = self._flush()
            reasoning, content, called = reasoning + more, content + rest, called + others
        if self._opening:
            content, self._opening = self._opening + content, ""
        return Part(content, reasoning, self._begun(called))

    @property
    def ends_with_calls(self) -> bool:
        """Whether the choice's finish_reason is `tool_calls`: a named function's is `stop`, as OpenAI has it."""
        return self.calls > 0 and not self._plan.named

    def _split(self, text: str) -> tuple[str, str, list[CallDelta]]:
        """(reasoning, answer, calls)."""
        if self._harmony is not None:
            return self._harmony.feed(text)
        reasoning, answer = self._reasoning.feed(text) if self._reasoning is not None else ("", text)
        if self._tools is None:
            return reasoning, answer, []
        return reasoning, *self._tools.feed(answer)

    def _flush(self) -> tuple[str, str, list[CallDelta]]:
        if self._harmony is not None:
            return self._harmony.flush()
        reasoning, answer = self._reasoning.flush() if self._reasoning is not None else ("", "")
        if self._tools is None:
            return reasoning, answer, []
        content, called = self._tools.feed(answer)
        rest, others = self._tools.flush()
        return reasoning, content + rest, called + others

    def _named(self, arguments: str) -> list[CallPart]:
        if self.calls:
            return [CallPart(0, arguments)] if arguments else []
        self.calls = 1
        return [CallPart(0, arguments, new_call_id(), self._plan.named)]

    def _begun(self, called: list[CallDelta]) -> list[CallPart]:
        begun: list[CallPart] = []
        for delta in called:
            if delta.name:
                self._is_dropping = self.calls >= self._plan.calls_max
                if not self._is_dropping:
                    begun.append(CallPart(self.calls, delta.arguments, delta.id or new_call_id(), delta.name))
                    self.calls += 1
            elif delta.arguments and not self._is_dropping:
                begun.append(CallPart(self.calls - 1, delta.arguments))
        return begun


def new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"

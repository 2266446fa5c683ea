"""One choice's text taken apart as it comes: reasoning, answer, tool calls."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from kaito.inference.serving.reasoning import Marks, ReasoningSplitter
from kaito.inference.serving.tool_parsers import Called, ToolSplitter
from kaito.inference.serving.tools import ToolPlan


@dataclass(frozen=True, slots=True)
class CallPart:
    """The beginning of a call (with `id` and `name`), or more of its arguments."""

    index: int
    arguments: str
    id: str = ""
    name: str = ""


@dataclass(slots=True)
class Part:
    content: str = ""
    reasoning: str = ""
    calls: list[CallPart] = field(default_factory=list)


class Parts:
    """`feed` every piece, the last with `is_last`."""

    def __init__(self, marks: Marks | None, plan: ToolPlan) -> None:
        self._reasoning = ReasoningSplitter(marks) if marks is not None else None
        self._tools = ToolSplitter(plan.notation) if plan.notation is not None else None
        self._plan = plan
        self.calls = 0

    def feed(self, text: str, *, is_last: bool) -> Part:
        reasoning, answer = self._reasoning.feed(text) if self._reasoning else ("", text)
        if is_last and self._reasoning:
            more, rest = self._reasoning.flush()
            reasoning, answer = reasoning + more, answer + rest
        if self._plan.named:
            return Part(reasoning=reasoning, calls=self._named(answer))
        if self._tools is None:
            return Part(answer, reasoning)
        content, called = self._tools.feed(answer)
        if is_last:
            rest, others = self._tools.flush()
            content, called = content + rest, called + others
        return Part(content, reasoning, self._begun(called))

    @property
    def ends_with_calls(self) -> bool:
        """Whether the choice's finish_reason is `tool_calls`: a named function's is `stop`, as OpenAI has it."""
        return self.calls > 0 and not self._plan.named

    def _named(self, arguments: str) -> list[CallPart]:
        if self.calls:
            return [CallPart(0, arguments)] if arguments else []
        self.calls = 1
        return [CallPart(0, arguments, new_call_id(), self._plan.named)]

    def _begun(self, called: list[Called]) -> list[CallPart]:
        begun = []
        for call in called[: self._plan.calls_max - self.calls]:
            begun.append(CallPart(self.calls, call.arguments, new_call_id(), call.name))
            self.calls += 1
        return begun


def new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"

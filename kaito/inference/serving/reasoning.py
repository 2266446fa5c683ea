"""Reasoning apart from the answer, in text that comes in pieces. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from kaito.inference.stops import StopMatcher


@dataclass(frozen=True, slots=True)
class Marks:
    """How a family of models marks its reasoning. `is_open`: its chat template has written the first mark already."""

    start: str
    end: str
    is_open: bool = False


THINK = Marks("<think>", "</think>")
# By vLLM's names of the parsers.
REASONING_PARSERS = {
    "deepseek_r1": Marks("<think>", "</think>", is_open=True),
    "deepseek_v3": THINK,
    "ernie45": Marks("<think>", "</think>", is_open=True),
    "glm45": THINK,
    "granite": Marks("Here is my thought process:", "Here is my response:"),
    "holo2": THINK,
    "hunyuan_a13b": Marks("<think>\n", "\n</think>\n<answer>\n"),
    "kimi_k2": THINK,
    "mimo": THINK,
    "minimax_m2": Marks("<think>", "</think>", is_open=True),
    "mistral": Marks("[THINK]", "[/THINK]"),
    "nemotron_v3": Marks("<think>", "</think>", is_open=True),
    "olmo3": Marks("<think>", "</think>", is_open=True),
    "qwen3": THINK,
    "seed_oss": Marks("<seed:think>", "</seed:think>"),
    "step3": Marks("<think>", "</think>", is_open=True),
}


class ReasoningSplitter:
    """`feed` gives (reasoning, answer). Where the template opens nothing, only white space may come before the mark."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._head: str | None = ""  # what came before it is decided whether the first mark is there
        self._is_answer = False
        self._end = StopMatcher((marks.end,))

    def feed(self, text: str) -> tuple[str, str]:
        if self._is_answer:
            return "", text
        if self._head is not None:
            self._head += text
            begun, start = self._head.lstrip(), self._marks.start
            if start.startswith(begun) and begun != start:
                return "", ""  # may still become the mark
            text, self._head = self._head, None
            if begun.startswith(start):
                text = begun[len(start) :]
            elif not self._marks.is_open:
                self._is_answer = True
                return "", text
        reasoning, met = self._end.feed(text)
        self._is_answer = bool(met)
        return reasoning, self._end.rest if met else ""

    def flush(self) -> tuple[str, str]:
        """What was held back, when nothing follows."""
        if self._head and not self._is_answer:
            return (self._head, "") if self._marks.is_open else ("", self._head)
        return self._end.flush(), ""

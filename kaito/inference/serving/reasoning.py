"""Reasoning apart from the answer, in text that comes in pieces. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kaito.inference.stops import StopMatcher


@dataclass(frozen=True, slots=True)
class Marks:
    """How a family of models marks its reasoning. `is_open`: its chat template has written the first mark already.

    `is_kept`: the reasoning stays in the answer, with the first mark before it, as such a model wants it back.
    `is_harmony`: harmony.py takes the answer apart.
    """

    start: str
    end: str
    is_open: bool = False
    is_kept: bool = False
    is_harmony: bool = False

    def after(self, prompt: str) -> Marks:
        """The same, open or not as the end of the prompt shows it: templates open and close reasoning by request."""
        tail = prompt.rstrip()
        if self.is_kept or self.is_harmony:
            return self
        if tail.endswith(self.start.strip()):
            return replace(self, is_open=True)
        return replace(self, is_open=False) if tail.endswith(self.end.strip()) else self


THINK = Marks("<think>", "</think>")
HARMONY = Marks("<|channel|>", "<|message|>", is_harmony=True)
# By vLLM's names of the parsers.
REASONING_PARSERS = {
    "deepseek_r1": Marks("<think>", "</think>", is_open=True),
    "deepseek_v3": THINK,
    "deepseek_v4": THINK,
    "ernie45": Marks("<think>", "</think>", is_open=True),
    "gemma4": Marks("<|channel>thought\n", "<channel|>"),
    "glm45": THINK,
    "granite": Marks("Here is my thought process:", "Here is my response:"),
    "holo2": THINK,
    "hunyuan_a13b": Marks("<think>\n", "\n</think>\n<answer>\n"),
    "kimi_k2": THINK,
    "mimo": THINK,
    "minimax_m2": Marks("<think>", "</think>", is_open=True),
    "minimax_m2_append_think": Marks("<think>", "", is_kept=True),
    "mistral": Marks("[THINK]", "[/THINK]"),
    "nemotron_v3": Marks("<think>", "</think>", is_open=True),
    "olmo3": Marks("<think>", "</think>", is_open=True),
    "openai_gptoss": HARMONY,
    "qwen3": THINK,
    "seed_oss": Marks("<seed:think>", "</seed:think>"),
    "step3": Marks("<think>", "</think>", is_open=True),
}


class ReasoningSplitter:
    """`feed` gives (reasoning, answer). Where the template opens nothing, only white space may come before the mark.

    `call`: the mark of tool calls, which ends reasoning too.
    """

    def __init__(self, marks: Marks, call: str = "") -> None:
        self._marks, self._call = marks, call
        self._head: str | None = ""  # what came before it is decided whether the first mark is there
        self._is_answer = False
        self._end = StopMatcher((marks.end, call) if call else (marks.end,))

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
        if met and met == self._call:
            return reasoning, met + self._end.rest
        return reasoning, self._end.rest if met else ""

    def flush(self) -> tuple[str, str]:
        """What was held back, when nothing follows."""
        if self._head and not self._is_answer:
            return (self._head, "") if self._marks.is_open else ("", self._head)
        return self._end.flush(), ""

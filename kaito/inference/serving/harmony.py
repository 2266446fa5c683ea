"""gpt-oss' answers: messages in channels, `<|channel|>analysis<|message|>…<|end|><|start|>assistant…`. Pure.

`analysis` is reasoning, `final` and a `commentary` to nobody are the answer, a message to `functions.NAME` is a call.
"""

from __future__ import annotations

import re

from kaito.inference.serving.call_readers import CallDelta
from kaito.inference.stops import StopMatcher

RECIPIENT = re.compile(r"to=functions\.(?P<name>[^\s<]+)")
CHANNEL = re.compile(r"<\|channel\|>\s*(?P<name>\w+)")


class HarmonySplitter:
    """`feed` gives (reasoning, answer, deltas of calls). The prompt has ended with `<|start|>assistant`."""

    def __init__(self) -> None:
        self._header: str | None = ""  # of the message that begins; None: inside a message
        self._message = StopMatcher(("<|message|>",))
        self._end = StopMatcher(("<|end|>", "<|call|>", "<|return|>", "<|start|>"))
        self._kind = "answer"
        self._has_marks = False

    def feed(self, text: str) -> tuple[str, str, list[CallDelta]]:
        said = {"reasoning": "", "answer": ""}
        calls: list[CallDelta] = []
        while text:
            if self._header is not None:
                text = self._take_header(text, said, calls)
                continue
            passed, met = self._end.feed(text)
            text = self._end.rest if met else ""
            self._take(passed, said, calls)
            if met:
                self._header = ""
        return said["reasoning"], said["answer"], calls

    def flush(self) -> tuple[str, str, list[CallDelta]]:
        said = {"reasoning": "", "answer": ""}
        calls: list[CallDelta] = []
        if self._header is None:
            self._take(self._end.flush(), said, calls)
        elif not self._has_marks:  # not one mark in all of it: it is the answer
            said["answer"] = self._header + self._message.flush()
        return said["reasoning"], said["answer"], calls

    def _take_header(self, text: str, said: dict[str, str], calls: list[CallDelta]) -> str:
        """What is left after the header, where it ends."""
        passed, met = self._message.feed(text)
        self._header = (self._header or "") + passed
        if not met:
            if not self._has_marks and self._is_no_header(self._header):
                self._take(self._header, said, calls)  # a model that does not speak harmony
                self._header = None
            return ""
        self._has_marks = True
        header, self._header = self._header, None
        recipient, channel = RECIPIENT.search(header), CHANNEL.search(header)
        if recipient is not None:
            self._kind = "call"
            calls.append(CallDelta("", recipient["name"]))
        else:
            self._kind = "reasoning" if channel and channel["name"] == "analysis" else "answer"
        return self._message.rest

    def _take(self, text: str, said: dict[str, str], calls: list[CallDelta]) -> None:
        if not text:
            return
        if self._kind == "call":
            calls.append(CallDelta(text))
        else:
            said[self._kind] += text

    @staticmethod
    def _is_no_header(header: str) -> bool:
        begun = header.lstrip()
        marks = ("<|channel|>", "<|start|>", "<|message|>", "to=")
        return bool(begun) and not begun.startswith(marks) and not any(mark.startswith(begun) for mark in marks)

"""Stop strings in text that comes in pieces. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class StopMatcher:
    """Lets text through until a stop string ends in it; what could still become one is held back."""

    stops: tuple[str, ...]
    keeps_stop: bool = False
    held: str = field(default="", init=False)
    rest: str = field(default="", init=False)  # what came after the stop string in the same piece

    def feed(self, text: str) -> tuple[str, str]:
        """(text to let through, the stop string that was met). Of several that are met the first to end counts."""
        if not self.stops:
            return text, ""
        window = self.held + text
        if found := self._first(window):
            stop, end = found
            self.held, self.rest = "", window[end:]
            return window[: end if self.keeps_stop else end - len(stop)], stop
        keep = self._undecided(window)
        self.held = window[len(window) - keep :]
        return window[: len(window) - keep], ""

    def flush(self) -> str:
        """What was held back, when nothing follows."""
        held, self.held = self.held, ""
        return held

    def _first(self, window: str) -> tuple[str, int] | None:
        met = [(at + len(stop), stop) for stop in self.stops if (at := window.find(stop)) >= 0]
        if not met:
            return None
        end = min(end for end, _ in met)
        return max((stop for e, stop in met if e == end), key=len), end

    def _undecided(self, window: str) -> int:
        """The length of the longest end of the window that begins a stop string."""
        longest = min(len(window), max(len(stop) for stop in self.stops) - 1)
        for length in range(longest, 0, -1):
            tail = window[-length:]
            if any(stop.startswith(tail) for stop in self.stops):
                return length
        return 0

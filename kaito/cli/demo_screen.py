"""Where the demo's progress is shown: a picture that is drawn anew on a terminal, lines that are added elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kaito.cli.demo_view import Journal, Stage
from kaito.clock import Clock, wall_clock
from kaito.plan.explain import age

REFRESHES_PER_S = 4
MARKS = {"passed": ("✓", "green"), "waiting": ("…", "yellow"), "failed": ("✗", "bold red"), "later": ("·", "dim")}


class Screen(Protocol):
    def say(self, text: str) -> None:
        """Adds lines."""
        ...

    def write(self, text: str) -> None:
        """Adds to the last line."""
        ...

    def live(self, stages: Callable[[], Sequence[Stage]]) -> AbstractContextManager[None]:
        """Shows these stages for as long as the block lasts; times count from the first block on."""
        ...

    def show(self) -> None:
        """The stages may have changed."""
        ...


def screen_for(out: TextIO, *, is_plain: bool, now: Clock = wall_clock) -> Screen:
    """The screen that suits the stream."""
    return Lines(out, now) if is_plain or not out.isatty() else Terminal(Console(file=out, highlight=False), now)


class Lines:
    """Append-only: for files, pipes and continuous integration."""

    def __init__(self, out: TextIO, now: Clock) -> None:
        self._out = out
        self._now = now
        self._started: datetime | None = None
        self._journal: Journal | None = None
        self._stages: Callable[[], Sequence[Stage]] = tuple

    def say(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def write(self, text: str) -> None:
        print(text, end="", file=self._out, flush=True)

    @contextmanager
    def live(self, stages: Callable[[], Sequence[Stage]]) -> Iterator[None]:
        self._started = self._started or self._now()
        self._journal, self._stages = Journal(self._started), stages
        self.show()
        yield
        self.show()

    def show(self) -> None:
        if self._journal is not None:
            for line in self._journal.lines(self._stages()):
                self.say(line)


class Terminal:
    """One picture that stays in its place; the ages in it go on by themselves."""

    def __init__(self, console: Console, now: Clock) -> None:
        self._console = console
        self._now = now
        self._started: datetime | None = None
        self._live: Live | None = None

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def write(self, text: str) -> None:
        self._console.out(text, end="", highlight=False)

    @contextmanager
    def live(self, stages: Callable[[], Sequence[Stage]]) -> Iterator[None]:
        self._started = self._started or self._now()
        picture = Picture(stages, self._now, self._started)
        with Live(picture, console=self._console, refresh_per_second=REFRESHES_PER_S) as self._live:
            yield
        self._live = None

    def show(self) -> None:
        if self._live is not None:
            self._live.refresh()


class Picture:
    """The stages as a table, with their ages at the moment of drawing."""

    def __init__(self, stages: Callable[[], Sequence[Stage]], now: Clock, started: datetime) -> None:
        self._stages = stages
        self._now = now
        self._started = started

    def __rich__(self) -> Table:
        now = self._now()
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        for _ in range(4):
            table.add_column(overflow="fold")
        for stage in self._stages():
            mark, style = MARKS[stage.mark]
            waited = age(stage.since, now) if stage.since else ""
            when = f"{waited} ago" if stage.mark == "passed" and waited else f"for {waited}" if waited else ""
            table.add_row(Text(mark, style=style), Text(stage.words, style=style), when, Text(stage.note, style="dim"))
        table.add_row("", Text(f"{age(self._started, now)} in all", style="dim"), "", "")
        return table

"""Tables, as kubectl prints them (columns as wide as their widest cell, three spaces apart), and lines that fit."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

from kaito.api.meta import Json

GAP = "   "
ELASTIC_MIN = 16  # characters of a sentence below which it says nothing
WRAP_MIN = 40  # characters of a terminal below which wrapping makes nothing easier to read


def terminal_width() -> int | None:
    """Characters of a line where somebody reads along; None for a file or a pipe, where lines stay whole."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def wrapped(line: str, indent: int, width: int | None) -> list[str]:
    """The line in pieces of `width`, those after the first under column `indent`. Words stay whole, however long."""
    if width is None or len(line) <= width or width < max(WRAP_MIN, indent + ELASTIC_MIN):
        return [line]
    lead = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(
        line.strip(), width, initial_indent=lead, subsequent_indent=" " * indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table. Rows have as many cells as the header."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[index]) for line in lines) for index in range(len(header))]
    return [GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def fitted(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    elastic: Sequence[str],
    dispensable: Sequence[str],
    elastic_min: int = ELASTIC_MIN,
) -> list[str]:
    """The table in `width` characters: `dispensable` columns go, the first named first, until the `elastic` ones have
    `elastic_min` characters; those share what is left, and what does not fit is cut.
    """
    kept = list(range(len(header)))
    leaving = [header.index(name) for name in dispensable]
    while True:
        widths = {index: max(len(line[index]) for line in (header, *rows)) for index in kept}
        least = sum(min(w, elastic_min) if header[i] in elastic else w for i, w in widths.items())
        if least + len(GAP) * (len(kept) - 1) <= width or not any(index in kept for index in leaving):
            break
        kept.remove(next(index for index in leaving if index in kept))
    room = width - len(GAP) * (len(kept) - 1) - sum(w for i, w in widths.items() if header[i] not in elastic)
    for index in sorted((i for i in kept if header[i] in elastic), key=lambda i: widths[i]):
        others = sum(1 for i in kept if header[i] in elastic and widths[i] > widths[index])
        widths[index] = min(widths[index], max(ELASTIC_MIN, room // (others + 1)))
        room -= widths[index]
    lines = [[cut(line[index], widths[index]) for index in kept] for line in (header, *rows)]
    return [cut(line, width) for line in columns(lines[0], lines[1:])]


def cut(text: str, width: int) -> str:
    """The text in `width` characters, with a mark where it was longer."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"[: max(0, width)]


def server_table(table: Json, *, wide: bool = False) -> list[str]:
    """The lines that kubectl makes of a meta.k8s.io/v1 Table: without the columns that only `-o wide` shows."""
    chosen = [
        (index, column)
        for index, column in enumerate(table.get("columnDefinitions") or [])
        if wide or not column.get("priority")
    ]
    rows = [[_cell(row["cells"][index]) for index, _ in chosen] for row in table.get("rows") or []]
    return columns([str(column["name"]).upper() for _, column in chosen], rows)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return str(value).replace("\n", " ") if not isinstance(value, bool) else str(value).lower()

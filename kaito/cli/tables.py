"""Tables for the terminal: columns as wide as their widest cell, three spaces apart, as kubectl prints them."""

from __future__ import annotations

from collections.abc import Sequence

from kaito.api.meta import Json

GAP = "   "
ELASTIC_MIN = 16  # characters of a sentence below which it says nothing


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
) -> list[str]:
    """The table in `width` characters: `dispensable` columns go, the first named first, until the `elastic` ones have
    room; those share what is left, and what does not fit is cut.
    """
    kept = list(range(len(header)))
    leaving = [header.index(name) for name in dispensable]
    while True:
        widths = {index: max(len(line[index]) for line in (header, *rows)) for index in kept}
        least = sum(min(w, ELASTIC_MIN) if header[i] in elastic else w for i, w in widths.items())
        if least + len(GAP) * (len(kept) - 1) <= width or not any(index in kept for index in leaving):
            break
        kept.remove(next(index for index in leaving if index in kept))
    room = width - len(GAP) * (len(kept) - 1) - sum(w for i, w in widths.items() if header[i] not in elastic)
    for index in sorted((i for i in kept if header[i] in elastic), key=lambda i: widths[i]):
        others = sum(1 for i in kept if header[i] in elastic and widths[i] > widths[index])
        widths[index] = min(widths[index], max(ELASTIC_MIN, room // (others + 1)))
        room -= widths[index]
    lines = [[_cut(line[index], widths[index]) for index in kept] for line in (header, *rows)]
    return [_cut(line, width) for line in columns(lines[0], lines[1:])]


def _cut(text: str, width: int) -> str:
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

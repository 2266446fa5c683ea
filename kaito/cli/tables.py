"""Tables for the terminal: columns as wide as their widest cell, three spaces apart, as kubectl prints them."""

from __future__ import annotations

from collections.abc import Sequence

from kaito.api.meta import Json

GAP = "   "


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table. Rows have as many cells as the header."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[index]) for line in lines) for index in range(len(header))]
    return [GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


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

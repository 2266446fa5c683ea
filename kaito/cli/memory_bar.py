"""One GPU's memory as a bar of characters."""

from __future__ import annotations

from kaito.cli.estimate_rows import Row
from kaito.plan.estimate import GIB

WIDTH, WIDTH_MIN = 56, 20
BESIDE = len("  one GPU    || 80 GiB ")  # characters of the bar's line that are none of its own


def memory_bar(row: Row, line_width: int | None = None) -> list[str]:
    """The bar and its legend; empty for a model that does not fit. `line_width`: characters of a narrow terminal."""
    estimate = row.estimate
    if estimate is None:
        return []
    budget = estimate.budget
    rest = max(0.0, budget.kv_cache - row.kv_cache_bytes)
    parts = [
        ("#", "weights", budget.weights),
        ("+", "overhead", budget.overhead + budget.reserve),
        ("=", f"KV cache of {estimate.context_tokens} tokens", row.kv_cache_bytes),
        ("-", "free for more context", rest),
        (" ", "left to others", budget.total - budget.usable),
    ]
    room = WIDTH if line_width is None else max(WIDTH_MIN, min(WIDTH, line_width - BESIDE))
    widths = _widths([size for _, _, size in parts], room)
    bar = "".join(mark * width for (mark, _, _), width in zip(parts, widths, strict=True))
    legend = [f"  {mark} {words} {size / GIB:.1f} GiB" for mark, words, size in parts if mark != " "]
    return [f"|{bar}| {budget.total / GIB:.0f} GiB", *legend]


def _widths(sizes: list[float], room: int) -> list[int]:
    """Characters of each part: they fill the bar, and what is there is at least one wide."""
    total = sum(sizes)
    widths = [max(1 if size > 0 else 0, round(size / total * room)) for size in sizes]
    widths[widths.index(max(widths))] += room - sum(widths)
    return widths

"""`--what-if`: the same model otherwise, side by side. Asked of the estimator; nothing else is planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kaito.cli.estimate_rows import Row, rows
from kaito.cli.plan_report import Report
from kaito.cli.prices import Prices
from kaito.cli.tables import columns
from kaito.plan.catalog import find_sku_anywhere
from kaito.plan.estimate import CONTEXT_TOKENS_DEFAULT, GIB

KEYS = ("sku", "replicas", "context")
NAMES = (
    *("instance type", "fits", "nodes", "GPUs", "parallel", "context max"),
    *("weights/GPU", "KV/GPU", "free/GPU", "per hour"),
)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """`sku` is empty and `context_tokens` None where they stay as written."""

    words: str
    sku: str = ""
    replicas: int = 1
    context_tokens: int | None = None


def parse_what_if(words: str) -> WhatIf:
    """`sku=A,replicas=2,context=8192`. Raises ValueError that names the part and the remedy."""
    found: dict[str, str] = {}
    for part in words.split(","):
        key, equals, value = part.partition("=")
        if not equals or key.strip() not in KEYS or not value.strip():
            raise ValueError(f"--what-if {words!r}: expected {'=…, '.join(KEYS)}=…, got {part!r}")
        found[key.strip()] = value.strip()
    if found.get("sku") and find_sku_anywhere(found["sku"]) is None:
        remedy = "see kaito estimate --list-skus"
        raise ValueError(f"--what-if {words!r}: instance type {found['sku']!r} is not known; {remedy}")
    context = found.get("context")
    return WhatIf(
        words,
        found.get("sku", ""),
        _positive(words, "replicas", found.get("replicas", "1")),
        None if context is None else _positive(words, "context", context),
    )


def _positive(words: str, key: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"--what-if {words!r}: {key} is a positive number, got {value!r}")
    return int(value)


def comparison(report: Report, cases: Sequence[WhatIf], prices: Prices) -> list[str]:
    """A table with a column for the Workspace as written and one for each case."""
    sizing = report.preview.sizing
    if sizing is None or sizing.preset is None or sizing.sku is None:
        return ["what-if needs a preset and a known instance type"]
    context_tokens = sizing.context_tokens or CONTEXT_TOKENS_DEFAULT
    asked = [WhatIf("as written"), *cases]
    cells = []
    for case in asked:
        sku = find_sku_anywhere(case.sku) if case.sku else sizing.sku
        assert sku is not None, "checked when it was parsed"
        (row,) = rows(sizing.preset, [sku], case.context_tokens or context_tokens, prices)
        cells.append(_cells(row, case.replicas))
    lines = [[name, *(cell[index] for cell in cells)] for index, name in enumerate(NAMES)]
    return columns(["", *(case.words for case in asked)], lines)


def _cells(row: Row, replicas: int) -> tuple[str, ...]:
    estimate = row.estimate
    if estimate is None:
        return (row.sku.name, "no", *("-",) * 8)
    nodes, budget = estimate.nodes * replicas, estimate.budget
    sizes = (budget.weights, row.kv_cache_bytes, max(0.0, budget.kv_cache - row.kv_cache_bytes))
    return (
        row.sku.name,
        "yes",
        str(nodes),
        str(nodes * row.sku.gpus),
        f"{estimate.parallelism}" + (f", {replicas} replicas" if replicas > 1 else ""),
        str(estimate.context_tokens_max),
        *(f"{size / GIB:.1f} GiB" for size in sizes),
        "-" if row.price is None else f"{row.price * replicas:.2f}",
    )

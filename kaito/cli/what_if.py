"""`--what-if`: the same wish otherwise, side by side. Asked of the estimator; nothing else is planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kaito.api.meta import Json
from kaito.api.ragengine import RAGENGINE
from kaito.cli.estimate_rows import Row, row_json, rows
from kaito.cli.planned import Planned, is_tuning
from kaito.cli.prices import Prices
from kaito.cli.tables import columns, wrapped
from kaito.plan.catalog import Preset, Sku, find_sku_anywhere
from kaito.plan.estimate import CONTEXT_TOKENS_DEFAULT, GIB
from kaito.plan.sizing import Sizing
from kaito.plan.tuning_memory import memory_need_gib
from kaito.plan.validate.tuning import method_of

KEYS = ("sku", "replicas", "context")
AS_WRITTEN = "as written"
NAMES = (
    *("instance type", "fits", "nodes", "GPUs", "parallel", "context max"),
    *("weights/GPU", "KV/GPU", "free/GPU", "per hour"),
)
BLANK = "-"


@dataclass(frozen=True, slots=True)
class WhatIf:
    """`sku` is empty, `replicas` and `context_tokens` None where they stay as written."""

    words: str
    sku: str = ""
    replicas: int | None = None
    context_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One column. `row` only for a model that is served; `nodes` and `price` are those of one replica."""

    words: str
    sku: Sku
    replicas: int
    fits: bool
    reason: str
    nodes: int
    price: float | None
    row: Row | None = None


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
    return WhatIf(
        words,
        found.get("sku", ""),
        _positive(words, "replicas", found.get("replicas")),
        _positive(words, "context", found.get("context")),
    )


def _positive(words: str, key: str, value: str | None) -> int | None:
    if value is None:
        return None
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"--what-if {words!r}: {key} is a positive number, got {value!r}")
    return int(value)


def cases_of(planned: Planned, asked: Sequence[WhatIf]) -> list[Case]:
    """As written, and each case; none for what has no machines, or no known ones."""
    first = next(iter(planned.sizings), None)
    if first is None or first.sku is None or not first.has_machines:
        return []
    found = []
    for each in (WhatIf(AS_WRITTEN), *asked):
        sku = find_sku_anywhere(each.sku) if each.sku else first.sku
        assert sku is not None, "checked when it was parsed"
        found.append(_case(planned, first, each, sku))
    return found


def _case(planned: Planned, sizing: Sizing, each: WhatIf, sku: Sku) -> Case:
    replicas = (each.replicas if planned.document.kind != RAGENGINE else None) or len(planned.sizings)
    if sizing.preset is not None and is_tuning(planned.root):
        return _tuned(planned, sizing.preset, each, sku, replicas)
    if sizing.preset is not None:
        return _served(planned.prices, sizing.preset, sizing.context_tokens, each, sku, replicas)
    nodes = sizing.nodes or 1
    return Case(each.words, sku, replicas, True, "", nodes, planned.prices.of(sku.name, nodes))


def _served(prices: Prices, preset: Preset, context: int | None, each: WhatIf, sku: Sku, replicas: int) -> Case:
    context_tokens = each.context_tokens or context or CONTEXT_TOKENS_DEFAULT
    (row,) = rows(preset, [sku], context_tokens, prices)
    nodes = row.estimate.nodes if row.estimate else 0
    return Case(each.words, sku, replicas, row.estimate is not None, row.reason, nodes, row.price, row)


def _tuned(planned: Planned, preset: Preset, each: WhatIf, sku: Sku, replicas: int) -> Case:
    """Tuning takes one node, and serves no context."""
    need_gib = memory_need_gib(preset, method_of(planned.root))
    fits = need_gib <= sku.memory_gib
    reason = f"{need_gib:.0f} of {sku.memory_gib} GiB are needed"
    return Case(each.words, sku, replicas, fits, reason, 1 if fits else 0, planned.prices.of(sku.name))


def comparison(planned: Planned, asked: Sequence[WhatIf], width: int | None = None) -> list[str]:
    """A table with a column for the object as written and one for each case; then why those that do not fit do not.

    What `width` characters do not hold goes into tables below, each of which begins with the object as written.
    """
    cases = cases_of(planned, asked)
    if not cases:
        return ["what-if needs machines of a known instance type"]
    lines: list[str] = []
    first, rest = cases[0], cases[1:]
    while rest:
        shown = next((n for n in range(len(rest), 1, -1) if _fits([first, *rest[:n]], width)), 1)
        lines += [*([""] if lines else []), *_side_by_side([first, *rest[:shown]])]
        rest = rest[shown:]
    misfits = [f"{case.words}: {case.reason}" for case in cases if not case.fits]
    return [*lines, *(piece for line in misfits for piece in wrapped(line, 2, width))]


def _fits(cases: Sequence[Case], width: int | None) -> bool:
    return width is None or max(len(line) for line in _side_by_side(cases)) <= width


def _side_by_side(cases: Sequence[Case]) -> list[str]:
    cells = [_cells(case) for case in cases]
    lines = [[name, *(cell[index] for cell in cells)] for index, name in enumerate(NAMES)]
    return columns(["", *(case.words for case in cases)], [line for line in lines if set(line[1:]) != {BLANK}])


def case_json(case: Case) -> Json:
    """The estimator's row (null where nothing is served), and what all replicas cost together."""
    return {
        "case": case.words,
        "sku": case.sku.name,
        "replicas": case.replicas,
        "fits": case.fits,
        "reason": case.reason,
        "nodes": case.nodes * case.replicas,
        "gpus": case.nodes * case.replicas * case.sku.gpus,
        "cost_per_hour": None if case.price is None else case.price * case.replicas,
        "sizing": row_json(case.row) if case.row else None,
    }


def _cells(case: Case) -> tuple[str, ...]:
    if not case.fits:
        return (case.sku.name, "no", *(BLANK,) * 8)
    nodes = case.nodes * case.replicas
    machines = (case.sku.name, "yes", str(nodes), str(nodes * case.sku.gpus))
    price = BLANK if case.price is None else f"{case.price * case.replicas:.2f}"
    several = f"{case.replicas} replicas" if case.replicas > 1 else ""
    estimate = case.row.estimate if case.row else None
    if case.row is None or estimate is None:
        return (*machines, several or BLANK, *(BLANK,) * 4, price)
    budget, cache = estimate.budget, case.row.kv_cache_bytes
    sizes = (budget.weights, cache, max(0.0, budget.kv_cache - cache))
    return (
        *machines,
        ", ".join(part for part in (str(estimate.parallelism), several) if part),
        str(estimate.context_tokens_max),
        *(f"{size / GIB:.1f} GiB" for size in sizes),
        price,
    )

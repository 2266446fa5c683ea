"""The rows of `kaito estimate`: one model on each instance type, cheapest fitting first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kaito.api.meta import Json
from kaito.cli.prices import Prices
from kaito.plan.catalog import Preset, Sku
from kaito.plan.estimate import DoesNotFit, Estimate, cache_bytes_per_gpu, estimate_nodes


@dataclass(frozen=True, slots=True)
class Row:
    """`estimate` is None where the model does not fit, and `reason` says why; else it is the reasoning."""

    sku: Sku
    estimate: Estimate | None
    reason: str
    kv_cache_bytes: float = 0.0  # of the asked context, on one GPU
    price: float | None = None  # of all nodes, per hour

    @property
    def cost_key(self) -> tuple[bool, bool, float, int, str]:
        """Fitting first, then by price; types without a price after those, by the GPU memory that they bring."""
        nodes = self.estimate.nodes if self.estimate else 0
        cost = self.price if self.price is not None else float(nodes * self.sku.memory_gib)
        return self.estimate is None, self.price is None, cost, nodes, self.sku.name


def rows(preset: Preset, candidates: Iterable[Sku], context_tokens: int, prices: Prices) -> list[Row]:
    """One for each instance type."""
    found = [_row(preset, sku, context_tokens, prices) for sku in candidates]
    return sorted(found, key=lambda row: row.cost_key)


def _row(preset: Preset, sku: Sku, context_tokens: int, prices: Prices) -> Row:
    try:
        estimate = estimate_nodes(preset, sku, context_tokens=context_tokens)
    except DoesNotFit as error:
        return Row(sku, None, str(error))
    cache = context_tokens * cache_bytes_per_gpu(preset, estimate.parallelism)
    return Row(sku, estimate, estimate.reasoning, cache, prices.of(sku.name, estimate.nodes))


def row_json(row: Row) -> Json:
    """`per_gpu_bytes` adds up to what the engine may use of a GPU; the reserve is part of the overhead."""
    estimate = row.estimate
    shape = estimate.parallelism if estimate else None
    budget = estimate.budget if estimate else None
    return {
        "sku": row.sku.name,
        "nodes": estimate.nodes if estimate else 0,
        "gpus_per_node": row.sku.gpus,
        "parallelism": {
            "data": shape.data if shape else 0,
            "tensor": shape.tensor if shape else 0,
            "pipeline": shape.pipeline if shape else 0,
        },
        "context_tokens_max": estimate.context_tokens_max if estimate else 0,
        "per_gpu_bytes": {
            "weights": round(budget.weights) if budget else 0,
            "kv_cache": round(row.kv_cache_bytes),
            "overhead": round(budget.overhead + budget.reserve) if budget else 0,
            "free": round(max(0.0, budget.kv_cache - row.kv_cache_bytes)) if budget else 0,
        },
        "fits": estimate is not None,
        "reason": row.reason,
        "nodes_exact": estimate.nodes_exact if estimate else 0,
    }

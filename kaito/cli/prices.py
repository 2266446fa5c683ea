"""Prices per hour of instance types: the user's own, dated. None are shipped, because they go stale."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import msgspec
import yaml

ENVIRONMENT = "KAITO_PRICES"
EXAMPLE = "date: 2026-11-01, currency: USD, per_hour: {Standard_NC24ads_A100_v4: 3.67}"


class _File(msgspec.Struct, forbid_unknown_fields=True):
    date: date
    per_hour: dict[str, float]
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class Prices:
    """`per_hour` by lower-case instance type, in `currency`, as of `date`."""

    date: str = ""
    currency: str = ""
    per_hour: dict[str, float] = field(default_factory=dict)

    def of(self, sku: str, nodes: int = 1) -> float | None:
        """What so many nodes cost an hour; None where the price is not known."""
        price = self.per_hour.get(sku.lower())
        return None if price is None else price * nodes

    def words(self, sku: str, nodes: int) -> str:
        price = self.of(sku, nodes)
        return "" if price is None else f"{price:.2f} {self.currency} an hour (as of {self.date})"


def load_prices(flag: str | None) -> Prices:
    """From the file of the flag, else of $KAITO_PRICES, else none. Raises ValueError that names file and remedy."""
    path = flag or os.environ.get(ENVIRONMENT, "")
    if not path:
        return Prices()
    try:
        found = msgspec.convert(yaml.safe_load(Path(path).read_text()), _File, strict=False)
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ValueError(f"prices {path!r}: {error}; expected YAML such as {{{EXAMPLE}}}") from error
    if wrong := [sku for sku, price in found.per_hour.items() if not price > 0]:
        raise ValueError(f"prices {path!r}: per_hour.{wrong[0]} is not positive")
    return Prices(found.date.isoformat(), found.currency, {sku.lower(): price for sku, price in found.per_hour.items()})

"""Kubernetes quantities: "16Gi" ⇄ bytes, "500m" ⇄ millicores, and their canonical form.

Exact: decimals, never floats. The API server stores the canonical form (1000m → 1), so comparisons go by value.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Context, Decimal

BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}  # powers of 1024
DECIMAL = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}  # powers of 1000
PATTERN = re.compile(r"^([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([KMGTPE]i|[numkMGTPE]?)|[eE]([+-]?\d{1,3}))$")
NANO = Decimal(10) ** -9  # the smallest step that a quantity can hold; finer values are rounded up
SIGNIFICANT_DIGITS_MAX = 40
EXACT = Context(prec=200)  # the default of 28 digits would round sums of exabytes


def parse_quantity(text: str | int) -> Decimal:
    """The value in base units (bytes, cores, pieces). Raises ValueError that shows the text."""
    match = PATTERN.match(str(text).strip())
    if match is None or len(match[1]) > SIGNIFICANT_DIGITS_MAX:
        raise ValueError(f"{text!r} is not a quantity: expected a number and a suffix such as m, k, M, G, Ki, Mi, Gi")
    number, suffix, exponent = Decimal(match[1]), match[2], match[3]
    if exponent is not None:
        return EXACT.multiply(number, EXACT.power(Decimal(10), int(exponent)))
    if suffix in BINARY:
        return EXACT.multiply(number, Decimal(1024 ** BINARY[suffix]))
    return EXACT.multiply(number, EXACT.power(Decimal(1000), DECIMAL[suffix]))


def canonical_quantity(text: str | int) -> str:
    """The form in which the API server stores it: the largest suffix of its own family before a whole number."""
    written = str(text).strip()
    value = parse_quantity(written)
    if value != value.to_integral_value():
        value = value.quantize(NANO, rounding=ROUND_CEILING, context=EXACT)
    match = PATTERN.match(written)
    if match and match[2] in BINARY and value == value.to_integral_value():
        return _whole(int(value), list(reversed([(1024**power, suffix) for suffix, power in BINARY.items()])))
    if match and match[3] is not None:
        return _exponent(value)
    for suffix, power in reversed(DECIMAL.items()):
        scaled = EXACT.divide(value, EXACT.power(Decimal(1000), power))
        if scaled == scaled.to_integral_value() and (scaled != 0 or power == 0):
            return f"{int(scaled)}{suffix}"
    return "0"


def _whole(value: int, steps: list[tuple[int, str]]) -> str:
    if value == 0:
        return "0"
    return next((f"{value // size}{suffix}" for size, suffix in steps if value % size == 0), str(value))


def _exponent(value: Decimal) -> str:
    """Decimal-exponent notation keeps exponents that are multiples of three."""
    exponent = 0
    while value and value % 1000 == 0:
        value, exponent = EXACT.divide(value, 1000), exponent + 3
    while value != value.to_integral_value():
        value, exponent = EXACT.multiply(value, 1000), exponent - 3
    return f"{int(value)}e{exponent}" if exponent else str(int(value))


def same_quantity(left: str | int, right: str | int) -> bool:
    """Whether both say the same amount; texts that are no quantities are compared as texts."""
    try:
        return parse_quantity(left) == parse_quantity(right)
    except ValueError:
        return str(left) == str(right)


def to_millicores(text: str | int) -> int:
    """Thousandths of a core, rounded up. Raises ValueError."""
    return int((parse_quantity(text) * 1000).to_integral_value(rounding=ROUND_CEILING))

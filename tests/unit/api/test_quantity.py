"""Quantities keep their value through every form."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.api.quantity import canonical_quantity, parse_quantity, same_quantity, to_millicores

SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
TEXTS = st.builds(
    lambda number, suffix: f"{number}{suffix}",
    st.one_of(st.integers(0, 10**9).map(str), st.decimals(0, 10**6, places=2).map(str)),
    st.sampled_from(SUFFIXES),
)


@given(TEXTS)
def test_the_canonical_form_has_the_same_value_to_the_nano(text: str) -> None:
    value, canonical = parse_quantity(text), parse_quantity(canonical_quantity(text))
    assert 0 <= canonical - value < Decimal("1e-9")


@given(TEXTS)
def test_the_canonical_form_is_its_own_canonical_form(text: str) -> None:
    once = canonical_quantity(text)
    assert canonical_quantity(once) == once


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1000m", "1"),
        ("0.5", "500m"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("100000", "100k"),
        ("0", "0"),
        ("1e3", "1e3"),
        ("12e3", "12e3"),
    ],
)
def test_forms_are_the_api_servers(text: str, canonical: str) -> None:
    assert canonical_quantity(text) == canonical


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1.2.3", "ten", "1gi", "0x10", "NaN"])
def test_what_is_no_quantity_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


def test_units() -> None:
    assert (to_millicores("500m"), to_millicores("2")) == (500, 2000)
    assert same_quantity("1000m", "1") and same_quantity("x", "x") and not same_quantity("1", "2")

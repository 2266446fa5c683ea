"""`--fault` on the command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.local.robots.settings import FAULTS, Fault, parse_fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("quota-exceeded", Fault("quota-exceeded")),
        ("device-plugin-late=30s", Fault("device-plugin-late", "30.0")),
        ("device-plugin-late=30@Standard_NC*", Fault("device-plugin-late", "30.0", "Standard_NC*")),
        ("launch-late", Fault("launch-late", "60.0")),
        ("server-crash-loop=out of luck@phi-*", Fault("server-crash-loop", "out of luck", "phi-*")),
    ],
)
def test_a_fault_is_a_name_a_value_and_a_glob(text: str, fault: Fault):
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no-such", "choose one of"),
        ("quota-exceeded=3", "takes no value"),
        ("launch-late=soon", "expected seconds"),
        ("launch-late=-1", "expected seconds"),
    ],
)
def test_a_bad_fault_names_value_and_remedy(text: str, words: str):
    with pytest.raises(ValueError, match=words) as caught:
        parse_fault(text)
    assert repr(text) in str(caught.value)


@given(st.sampled_from(sorted(FAULTS)))
def test_every_fault_works_without_a_value(name: str):
    assert parse_fault(name).name == name

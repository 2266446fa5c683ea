"""What `kubectl apply` leaves of an object, against what it is made of."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kaito.plan.conditions import status_patch
from kaito.plan.merge import LAST_APPLIED_ANNOTATION, applied, merged

VALUES = st.recursive(
    st.integers() | st.text(max_size=3) | st.booleans(),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.sampled_from("abcd"), below, max_size=3),
    max_leaves=8,
)
MAPS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


def made_by_apply(live: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    return live | {"metadata": {"annotations": {LAST_APPLIED_ANNOTATION: json.dumps(before)}}}


@given(MAPS, MAPS)
def test_a_merge_patch_between_two_objects_leads_from_one_to_the_other(before: Any, after: Any) -> None:
    assert merged(before, status_patch(before, after)) == after


@given(MAPS, MAPS)
def test_what_was_applied_and_nobody_touched_becomes_what_is_written(before: Any, written: Any) -> None:
    found = applied(made_by_apply(before, before), written)
    del found["metadata"]
    assert found == written


@given(MAPS, MAPS)
def test_what_others_set_stays(live: Any, written: Any) -> None:
    found = applied(live, written)
    assert all(found[key] == value for key, value in live.items() if key not in written)
    assert all(found[key] == value for key, value in written.items() if not isinstance(value, dict))


def test_lists_are_replaced_as_a_whole() -> None:
    assert applied({"a": [1, 2]}, {"a": [3]}) == {"a": [3]}


def test_a_broken_annotation_counts_as_none() -> None:
    live = {"metadata": {"annotations": {LAST_APPLIED_ANNOTATION: "{"}}, "a": 1}
    assert applied(live, {})["a"] == 1

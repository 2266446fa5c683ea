"""Laws of conditions: they move only when their status does, and always fit metav1.Condition."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from kaito.plan.conditions import WantedCondition, merge_conditions, valid_reason
from tests.builders import at, moment

REASON = re.compile(r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
WANTED = st.lists(
    st.builds(WantedCondition, st.sampled_from("ABCD"), st.booleans(), st.text(max_size=8), st.text(max_size=8)),
    unique_by=lambda want: want.type,
)


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    first = merge_conditions([], [WantedCondition("A", False, "No", "not yet")], generation=1, now=moment(0))
    second = merge_conditions(first, [WantedCondition("A", False, "Still", "nearly")], generation=2, now=moment(5))
    third = merge_conditions(second, [WantedCondition("A", True, "Yes", "done")], generation=2, now=moment(9))
    assert (second, third) == (
        [
            {
                "type": "A",
                "status": "False",
                "observedGeneration": 2,
                "lastTransitionTime": at(0),
                "reason": "Still",
                "message": "nearly",
            }
        ],
        [
            {
                "type": "A",
                "status": "True",
                "observedGeneration": 2,
                "lastTransitionTime": at(9),
                "reason": "Yes",
                "message": "done",
            }
        ],
    )


def test_conditions_of_others_stay_and_dropped_ones_go() -> None:
    theirs = {"type": "BenchmarkCompleted", "status": "True", "reason": "BenchmarkCompleted", "message": ""}
    ours = {"type": "NodeClaimReady", "status": "True", "reason": "NodeClaimsReady", "message": ""}
    merged = merge_conditions([ours, theirs], [], generation=1, now=moment(), dropped=frozenset({"NodeClaimReady"}))
    assert merged == [theirs]


@given(WANTED, WANTED, st.integers(1, 9), st.integers(0, 10_000))
def test_merging_again_later_changes_nothing(
    old: list[WantedCondition], new: list[WantedCondition], generation: int, later_s: int
) -> None:
    before = merge_conditions([], old, generation=1, now=moment(0))
    once = merge_conditions(before, new, generation=generation, now=moment(1))
    assert merge_conditions(once, new, generation=generation, now=moment(1 + later_s)) == once
    assert [item["type"] for item in once[: len(before)]] == [item["type"] for item in before]


@given(st.text())
def test_every_reason_becomes_valid(reason: str) -> None:
    assert REASON.match(valid_reason(reason))


@given(st.from_regex(r"\A[A-Z][a-zA-Z0-9]{0,30}\Z"))
def test_a_valid_reason_stays(reason: str) -> None:
    assert valid_reason(reason) == reason

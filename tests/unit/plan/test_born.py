"""Pods stay as they were made while nobody asks for others, whatever the operator would write today."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.api.meta import from_json
from kaito.api.workloads import StatefulSet
from kaito.plan.born import MADE_AS_CHARS_MAX, as_born, made_for
from kaito.plan.diff import desired_hash

VALUES = st.recursive(
    st.integers(-9, 9) | st.text(max_size=3) | st.booleans(),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.text(max_size=2), below, max_size=3),
    max_leaves=6,
)
TEMPLATES = st.dictionaries(st.text(max_size=3), VALUES, min_size=1, max_size=4)
WISHES = st.dictionaries(st.text(max_size=3), VALUES, max_size=3)


def workload(template: Any) -> Any:
    return {"metadata": {"name": "phi", "annotations": {"a": "b"}}, "spec": {"replicas": 1, "template": template}}


def observed(body: Any) -> StatefulSet:
    return from_json(body, StatefulSet)


@given(TEMPLATES, TEMPLATES, TEMPLATES, WISHES)
def test_no_version_of_the_operator_changes_what_users_did_not(born: Any, newer: Any, older: Any, wish: Any) -> None:
    made = as_born(workload(born), None, inputs=wish, is_upgrade_asked=False)
    seen, hashes = made, {desired_hash(made)}
    for template in (newer, older, newer, born):  # N-1 → N → N-1 → N → N-1
        seen = as_born(workload(template), observed(seen), inputs=wish, is_upgrade_asked=False)
        assert seen["spec"]["template"] == born
        hashes.add(desired_hash(seen))
    assert len(hashes) == 1, "nothing is written either"


@given(TEMPLATES, TEMPLATES, WISHES, WISHES)
def test_a_new_wish_and_a_label_bring_the_template_of_today(born: Any, today: Any, wish: Any, other: Any) -> None:
    made = observed(as_born(workload(born), None, inputs=wish, is_upgrade_asked=False))
    asked = as_born(workload(today), made, inputs=wish, is_upgrade_asked=True)
    assert asked["spec"]["template"] == today
    if made_for(other) != made_for(wish):
        assert as_born(workload(today), made, inputs=other, is_upgrade_asked=False)["spec"]["template"] == today
    kept = as_born(workload(born), observed(asked), inputs=wish, is_upgrade_asked=False)
    assert kept["spec"]["template"] == today, "what was asked for once stays"


def test_the_hash_of_a_wish_never_changes_its_meaning() -> None:
    """Pinned: an operator of another version must come to the very same one."""
    wish = {"inference": {"preset": {"name": "phi-3.5-mini-instruct"}}, "nodes": 1, "labels": {}}
    assert made_for(wish) == made_for(dict(reversed(wish.items()))) == "aebacfeea74f1360"


@pytest.mark.parametrize("text", ["", "!", "aGFsbG8=", "eJyrrgUAAXUA+Q=="])
def test_a_mark_that_cannot_be_read_counts_as_none(text: str) -> None:
    body = as_born(workload({"a": 1}), None, inputs={}, is_upgrade_asked=False)
    body["metadata"]["annotations"]["kaito.sh/made-as"] = text
    assert as_born(workload({"a": 2}), observed(body), inputs={}, is_upgrade_asked=False)["spec"]["template"] == {
        "a": 2
    }


def test_a_template_too_large_for_an_annotation_follows_the_operator() -> None:
    noise = {"noise": "".join(chr(33 + (n * n * 7919) % 90) for n in range(8 * MADE_AS_CHARS_MAX))}
    made = as_born(workload(noise), None, inputs={}, is_upgrade_asked=False)
    size = sum(map(len, made["metadata"]["annotations"].values()))
    assert size < 2 * MADE_AS_CHARS_MAX

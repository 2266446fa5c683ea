"""A write parks its root until the graph has seen it, however the events and the answer race."""

from __future__ import annotations

from kaito.api.meta import ObjectRef
from kaito.state.expectations import EXPIRY_S, Expectations

ROOT = ObjectRef("Workspace", "default", "phi")
CLAIM = ObjectRef("NodeClaim", "", "ws1")


def test_a_write_is_unmet_until_its_version_is_seen() -> None:
    expectations = Expectations()
    opened = expectations.open(ROOT, CLAIM, now_s=0)
    assert not expectations.answered(opened, version="7", now_s=1)
    assert expectations.observe(CLAIM, uid="u", version="6", is_deleted=False) == frozenset()
    assert expectations.unmet(ROOT) == (opened,)
    assert expectations.observe(CLAIM, uid="u", version="7", is_deleted=False) == {ROOT}
    assert expectations.unmet(ROOT) == () and len(expectations) == 0


def test_an_event_that_overtakes_the_answer_meets_it_even_when_a_later_one_came_too() -> None:
    expectations = Expectations()
    opened = expectations.open(ROOT, CLAIM, now_s=0)
    expectations.observe(CLAIM, uid="u", version="7", is_deleted=False)
    expectations.observe(CLAIM, uid="u", version="8", is_deleted=False)
    assert expectations.answered(opened, version="7", now_s=1)
    assert len(expectations) == 0


def test_only_a_list_that_began_after_the_answer_meets_it() -> None:
    expectations = Expectations()
    opened = expectations.open(ROOT, CLAIM, now_s=0)
    assert expectations.relisted("NodeClaim", began_s=5) == frozenset()
    expectations.answered(opened, version="7", now_s=6)
    assert expectations.relisted("NodeClaim", began_s=5.5) == frozenset()
    assert expectations.relisted("Node", began_s=9) == frozenset()
    assert expectations.relisted("NodeClaim", began_s=9) == {ROOT}


def test_a_deletion_is_met_by_the_timestamp_that_it_wrote_though_finalizers_hold_the_object() -> None:
    expectations = Expectations()
    expectations.open(ROOT, CLAIM, now_s=0, uid="u1", is_deletion=True)
    assert expectations.observe(CLAIM, uid="u1", version="8", is_deleted=False) == frozenset()
    assert expectations.observe(CLAIM, uid="u1", version="9", is_deleted=False, is_leaving=True) == {ROOT}
    opened = expectations.open(ROOT, CLAIM, now_s=0, uid="u1")  # any other write is met by its own version only
    expectations.answered(opened, version="11", now_s=0)
    assert expectations.observe(CLAIM, uid="u1", version="10", is_deleted=False, is_leaving=True) == frozenset()


def test_a_deletion_is_met_by_the_delete_or_by_another_uid_under_the_name() -> None:
    expectations = Expectations()
    expectations.open(ROOT, CLAIM, now_s=0, uid="u1", is_deletion=True)
    assert expectations.observe(CLAIM, uid="u1", version="8", is_deleted=False) == frozenset()
    assert expectations.observe(CLAIM, uid="u2", version="9", is_deleted=False) == {ROOT}
    expectations.open(ROOT, CLAIM, now_s=0, uid="u2", is_deletion=True)
    assert expectations.observe(CLAIM, uid="u2", version="10", is_deleted=True) == {ROOT}


def test_a_deletion_that_overtakes_the_answer_of_the_patch_that_caused_it_meets_that_patch() -> None:
    """The removal of the last finalizer: a Workspace made anew under the name waited 30 s for it."""
    expectations = Expectations()
    opened = expectations.open(ROOT, ROOT, now_s=0, uid="u1")
    expectations.observe(ROOT, uid="u1", version="8", is_deleted=True)
    assert expectations.answered(opened, version="7", now_s=1)
    assert len(expectations) == 0


def test_what_never_comes_expires_and_is_reported_once() -> None:
    expectations = Expectations()
    opened = expectations.open(ROOT, CLAIM, now_s=10)
    assert expectations.next_deadline_s() == 10 + EXPIRY_S
    assert expectations.expire(10 + EXPIRY_S - 1) == ()
    assert expectations.expire(10 + EXPIRY_S) == (opened,)
    assert expectations.unmet(ROOT) == () and expectations.next_deadline_s() is None


def test_a_failed_write_frees_its_root() -> None:
    expectations = Expectations()
    expectations.drop(expectations.open(ROOT, CLAIM, now_s=0))
    assert expectations.unmet(ROOT) == ()

"""Whose object is it: claims by label pair, uid and age; other children by controller or uid."""

from __future__ import annotations

from typing import Any

import pytest

from kaito.api.meta import Json, ObjectRef
from kaito.plan.ownership import Tie, is_child, is_own, tie_of
from tests.builders import at, decode, node_claim, owner_reference, service, stateful_set

REF = ObjectRef("Workspace", "default", "phi")
UID = "uid-default-phi"


@pytest.mark.parametrize(
    ("claim", "tie"),
    [
        (node_claim("a"), Tie.OWN),
        (node_claim("a", owner_uid=None), Tie.OWN),
        (node_claim("a", owner_uid="old", creationTimestamp=at(-1)), Tie.FORMER),
        (node_claim("a", owner_uid="new", creationTimestamp=at(0)), Tie.LATER),
        (node_claim("a", owner_uid="new", creationTimestamp=at(9)), Tie.LATER),
        (node_claim("a", owner="other"), Tie.FOREIGN),
        (node_claim("a", namespace="other"), Tie.FOREIGN),
        (node_claim("a", labels=None), Tie.FOREIGN),
    ],
)
def test_a_claim_is_tied_by_labels_then_uid_then_age(claim: Json, tie: Tie) -> None:
    assert tie_of(decode(claim).metadata, REF, UID, at(0)) is tie


MARK = {"annotations": {"kaito.sh/workspace-uid": UID}}
THEIRS = {"ownerReferences": [owner_reference(uid="theirs")]}


@pytest.mark.parametrize(
    ("more", "is_ours"),
    [
        ({}, True),
        (THEIRS, False),
        ({"ownerReferences": []}, False),
        ({"ownerReferences": []} | MARK, True),
        (THEIRS | MARK, False),
    ],
)
def test_a_child_is_the_controllers_or_where_there_is_none_the_marked_roots(more: Any, is_ours: bool) -> None:
    desired = stateful_set(**MARK)
    assert is_child(decode(stateful_set(**more)).metadata, UID) is is_ours
    assert is_own(desired, stateful_set(**more)) is is_ours


@pytest.mark.parametrize(
    ("live", "is_ours"),
    [
        (node_claim("a"), True),
        (node_claim("a", owner="other"), False),
        (node_claim("a", owner_uid="other"), False),
        (node_claim("a", owner_uid=None), False),
        (service("a"), False),
    ],
)
def test_an_existing_claim_is_the_one_we_wanted_only_with_our_pair_and_uid(live: Json, is_ours: bool) -> None:
    assert is_own(node_claim("a"), live) is is_ours

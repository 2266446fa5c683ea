"""What equals the object before is held once, and nothing else about an object changes by that."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.api.meta import Json
from kaito.state.reuse import reused
from tests.builders import decode, node, node_claim, pod, service, workspace

BODIES: dict[str, Json] = {
    "Node": node("n1", labels={"apps": "phi"}),
    "NodeClaim": node_claim("ws1", node="n1"),
    "Pod": pod("phi-0"),
    "Service": service("phi"),
    "Workspace": workspace(),
}
PLACES: dict[str, tuple[tuple[str, ...], Any]] = {
    "version": (("metadata", "resourceVersion"), "77"),
    "label": (("metadata", "labels"), {"apps": "other"}),
    "generation": (("metadata", "generation"), 9),
    "status": (("status",), {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "t"}]}),
    "spec": (("spec",), {"taints": [], "nodeName": "n2", "ports": []}),
}


def changed(body: Json, places: frozenset[str]) -> Json:
    found = deepcopy(body)
    for place in places:
        path, value = PLACES[place]
        at = found
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = deepcopy(value)
    return found


@given(st.sampled_from(sorted(BODIES)), st.frozensets(st.sampled_from(sorted(PLACES))))
def test_an_object_that_reuses_parts_equals_what_was_decoded(kind: str, places: frozenset[str]) -> None:
    after = changed(BODIES[kind], places)
    before, untouched = decode(BODIES[kind]), decode(BODIES[kind])
    kept, is_news = reused(before, decode(after))
    assert kept == decode(after)
    assert before == untouched
    is_root = kind == "Workspace"
    as_before = decode(changed(after, frozenset({"version"}))) == decode(changed(BODIES[kind], frozenset({"version"})))
    assert is_news == (is_root or not as_before)


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_what_is_equal_is_the_very_same_object(kind: str) -> None:
    before = decode(BODIES[kind])
    kept, _ = reused(before, decode(changed(BODIES[kind], frozenset({"version"}))))
    assert kept.metadata.resource_version == "77"
    assert kept.metadata.labels is before.metadata.labels
    for name in ("spec_json", "status", "resource", "inference"):
        if kind != "Workspace" or name != "status":  # which is decoded each time
            assert getattr(kept, name, None) is getattr(before, name, None)


def test_a_spec_that_python_calls_equal_is_taken_over_only_with_its_generation() -> None:
    def templated(value: object, generation: int) -> Any:
        body = workspace()
        body["inference"] = {"template": {"spec": {"containers": [{"name": "c", "image": "i", "stdin": value}]}}}
        return decode(body | {"metadata": body["metadata"] | {"generation": generation}})

    before, after = templated(1, 1), templated(True, 2)
    kept, _ = reused(before, after)
    assert kept.inference.template["spec"]["containers"][0]["stdin"] is True

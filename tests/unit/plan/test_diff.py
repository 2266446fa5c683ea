"""Laws of the owned-field diff: defaults make no noise, an apply leaves nothing to do, every hand edit is seen."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.plan.diff import Change, desired_hash, diff, stamped

NAMES = st.sampled_from(["a", "b", "c", "d"])
SCALARS = st.one_of(st.integers(1, 9), st.sampled_from(["x", "y", "1Gi"]), st.just(True))


def _named(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """A list with the merge key `name`."""
    return st.dictionaries(NAMES, values, min_size=1, max_size=3).map(
        lambda entries: [{"name": name, "value": value} for name, value in entries.items()]
    )


CONTAINERS = st.fixed_dictionaries(
    {
        "image": SCALARS,
        "command": st.lists(SCALARS, max_size=3),
        "env": _named(SCALARS),
        "resources": st.fixed_dictionaries({"requests": st.dictionaries(NAMES, st.integers(1, 9).map(str))}),
    }
)
DESIRED = st.fixed_dictionaries(
    {
        "labels": st.dictionaries(NAMES, SCALARS, max_size=3),
        "spec": st.fixed_dictionaries(
            {
                "replicas": st.integers(1, 4),
                "containers": st.dictionaries(NAMES, CONTAINERS, min_size=1, max_size=2).map(
                    lambda entries: [{"name": name, **body} for name, body in entries.items()]
                ),
                "tolerations": st.lists(st.fixed_dictionaries({"key": SCALARS}), max_size=2),
            }
        ),
    }
)


def _with_defaults(value: Any, draw: Any, *, is_list_map: bool = False) -> Any:
    """What a server may make of it: more keys in every map, more entries in keyed lists and another order of them."""
    if isinstance(value, dict):
        extra = {f"default{index}": index for index in range(draw(st.integers(0, 2)))}
        return {
            key: _with_defaults(item, draw, is_list_map=key in ("containers", "env")) for key, item in value.items()
        } | extra
    if isinstance(value, list):
        items = [_with_defaults(item, draw) for item in value]
        if not is_list_map:
            return items
        return draw(st.permutations([*items, {"name": "injected", "image": "sidecar"}]))
    return value


@given(DESIRED, st.data())
def test_server_defaults_and_others_additions_are_no_difference(desired: Any, data: st.DataObject) -> None:
    assert diff(desired, _with_defaults(desired, data.draw)) == ()


@given(DESIRED, DESIRED)
def test_nothing_differs_after_an_apply(desired: Any, observed: Any) -> None:
    assert diff(desired, _applied(desired, observed)) == ()


def _applied(desired: Any, observed: Any) -> Any:
    """Server-side apply of what `desired` owns, forced."""
    if isinstance(desired, dict) and isinstance(observed, dict):
        return observed | {
            key: _applied_list(item, observed[key]) if key in ("containers", "env") and key in observed
            else _applied(item, observed.get(key))
            for key, item in desired.items()
        }  # fmt: skip
    return desired


def _applied_list(desired: list[Any], observed: list[Any]) -> list[Any]:
    wanted = {entry["name"]: entry for entry in desired}
    kept = [_applied(wanted.pop(entry["name"]), entry) if entry["name"] in wanted else entry for entry in observed]
    return [*kept, *wanted.values()]


@given(DESIRED, st.data())
def test_every_changed_leaf_is_seen_at_its_path(desired: Any, data: st.DataObject) -> None:
    observed = deepcopy(desired)
    container = data.draw(st.sampled_from(observed["spec"]["containers"]))
    entry = data.draw(st.sampled_from(container["env"]))
    before, entry["value"] = entry["value"], "edited"
    path = f"spec.containers[{container['name']}].env[{entry['name']}].value"
    assert diff(desired, observed) == (Change(path, before, "edited"),)


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        ({"limits": {"cpu": "1000m"}}, {"limits": {"cpu": "1"}}),
        ({"requests": {"memory": "1024Mi"}}, {"requests": {"memory": "1Gi"}}),
        ({"requests": {"nvidia.com/gpu": 2}}, {"requests": {"nvidia.com/gpu": "2"}}),
        ({"sizeLimit": "0.5Gi"}, {"sizeLimit": "512Mi"}),
        ({"nothing": None, "none": [], "empty": {}}, {}),
        ({"initialDelaySeconds": 0, "hostNetwork": False, "value": ""}, {}),
        ({"ports": [{"containerPort": 80}]}, {"ports": [{"containerPort": 80, "protocol": "TCP"}]}),
    ],
)
def test_what_the_server_normalises_is_equal(wanted: Any, seen: Any) -> None:
    assert diff(wanted, seen) == ()


@pytest.mark.parametrize(
    ("wanted", "seen", "change"),
    [
        ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "2"}}, Change("limits.cpu", "1", "2")),
        ({"command": ["a", "b"]}, {"command": ["a"]}, Change("command", ["a", "b"], ["a"])),
        ({"command": ["a", "b"]}, {"command": ["b", "a"]}, Change("command[0]", "a", "b")),
        ({"replicas": 1}, {"replicas": True}, Change("replicas", 1, True)),
        ({"image": "1"}, {"image": 1}, Change("image", "1", 1)),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": []}, Change("env[A]", {"name": "A", "value": "1"}, None)),
        (
            {"ports": [{"port": 80, "targetPort": 5000}]},
            {"ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]},
            Change("ports[80/TCP].targetPort", 5000, 8080),
        ),
    ],
)
def test_what_differs_is_named_with_both_values(wanted: Any, seen: Any, change: Change) -> None:
    assert diff(wanted, seen)[:1] == (change,)


def test_a_change_reads_as_a_sentence() -> None:
    assert str(Change("spec.replicas", 2, None)) == "spec.replicas is absent, should be 2"


@given(DESIRED)
def test_the_hash_depends_on_content_only(desired: Any) -> None:
    shuffled = dict(reversed(list(desired.items())))
    assert desired_hash(desired) == desired_hash(shuffled)
    assert desired_hash(desired | {"kind": "Other"}) != desired_hash(desired)


def test_the_stamp_is_not_part_of_what_it_stamps() -> None:
    body = {"metadata": {"name": "phi", "annotations": {"a": "b"}}, "spec": {}}
    once = stamped(body)
    assert once["metadata"]["annotations"] == {"a": "b", "kaito.sh/desired-hash": desired_hash(body)}
    assert stamped(once) == once

"""What kubectl's tables show, and the paths and ages in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.clock import rfc3339
from kaito.local.apiserver.registry import Registry
from kaito.local.http.columns import BUILT_IN
from kaito.local.http.durations import human
from kaito.local.http.jsonpath import find, parse_path
from kaito.local.http.pod_columns import pod_state
from kaito.local.http.tables import cells, column_definitions
from kaito.local.http.target import Target, parse_target

NOW = datetime(2026, 1, 2, tzinfo=UTC)
AGO = rfc3339(NOW - timedelta(minutes=5))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (119, "119s"), (120, "2m"), (249, "4m9s"), (600, "10m"), (9_000, "150m"), (12_000, "3h20m"),
     (90_000, "25h"), (200_000, "2d7h"), (864_000, "10d"), (63_072_000 + 86_400 * 10, "2y10d"), (3e8, "9y")],
)  # fmt: skip
def test_ages_are_as_short_as_kubectls(seconds: float, text: str) -> None:
    assert human(seconds) == text


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        ("{.a.b}", [1]),
        (".a['b']", [1]),
        (".list[1].x", [2]),
        (".list[-1].x", [2]),
        (".list[*].x", [1, 2]),
        ('.list[?(@.name=="q")].x', [2]),
        (".list[?(@.name != 'q')].x", [1]),
        (r".labels.kaito\.sh/name", ["w"]),
        (".nothing.at.all", []),
        (".list.x", []),
    ],
)
def test_json_paths(path: str, found: list[Any]) -> None:
    value = {
        "a": {"b": 1},
        "list": [{"name": "p", "x": 1}, {"name": "q", "x": 2}],
        "labels": {"kaito.sh/name": "w"},
    }
    assert find(value, parse_path(path)) == found


@pytest.mark.parametrize("path", ["a b", ".a[", ".a[?(1==1)]x", "..a"])
def test_a_json_path_that_cannot_be_read_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="cannot read"):
        parse_path(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(JSON)
def test_a_path_into_anything_finds_or_does_not(value: Any) -> None:
    for path in (".a.b", ".a[0]", ".a[*]", '.a[?(@.b=="c")].d'):
        assert isinstance(find(value, parse_path(path)), list)


@pytest.mark.parametrize("resource", Registry((1, 36)).all(), ids=lambda item: item.kind)
def test_every_built_in_kind_fills_its_columns_even_when_it_is_empty(resource: Any) -> None:
    shown = cells(resource, {"metadata": {"name": "a", "creationTimestamp": AGO}}, NOW)
    assert len(shown) == len(column_definitions(resource))
    if resource.kind in BUILT_IN:
        assert "a" in shown


def status(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "c", "state": state, "restartCount": 0} | more


@pytest.mark.parametrize(
    ("pod", "word"),
    [
        ({"status": {"phase": "Pending"}}, "Pending"),
        ({"status": {"phase": "Failed", "reason": "Evicted"}}, "Evicted"),
        ({"status": {"phase": "Running", "containerStatuses": [status({"running": {}}, ready=True)]}}, "Running"),
        ({"status": {"containerStatuses": [status({"waiting": {"reason": "CrashLoopBackOff"}})]}}, "CrashLoopBackOff"),
        ({"status": {"containerStatuses": [status({"terminated": {"exitCode": 3}})]}}, "ExitCode:3"),
        ({"status": {"containerStatuses": [status({"terminated": {"exitCode": 0, "reason": "Completed"}}),
                                           status({"running": {}}, ready=True)]}}, "Running"),
        ({"status": {"initContainerStatuses": [status({"running": {}})]}}, "Init:0/1"),
        ({"status": {"initContainerStatuses": [status({"terminated": {"exitCode": 1, "reason": "Error"}})]}},
         "Init:Error"),
        ({"metadata": {"deletionTimestamp": AGO}, "status": {"phase": "Running"}}, "Terminating"),
    ],
)  # fmt: skip
def test_the_one_word_for_a_pods_state(pod: dict[str, Any], word: str) -> None:
    assert pod_state({"metadata": {}} | pod) == word


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/api/v1/pods", Target("", "v1", "", "pods")),
        ("/api/v1/namespaces", Target("", "v1", "", "namespaces")),
        ("/api/v1/namespaces/x", Target("", "v1", "", "namespaces", "x")),
        ("/api/v1/namespaces/x/status", Target("", "v1", "", "namespaces", "x", "status")),
        ("/api/v1/namespaces/x/pods/", Target("", "v1", "x", "pods")),
        ("/api/v1/namespaces/x/pods/y/log", Target("", "v1", "x", "pods", "y", "log")),
        ("/apis/apps/v1/namespaces/x/statefulsets/y", Target("apps", "v1", "x", "statefulsets", "y")),
        ("/api/v1/namespaces/x/services/http:y:80/proxy", Target("", "v1", "x", "services", "http:y:80", "proxy", "/")),
        ("/api/v1/namespaces/x/services/y%3A80/proxy/a%2Fb/",
         Target("", "v1", "x", "services", "y:80", "proxy", "/a%2Fb/")),
        ("/api/v1", None),
        ("/apis/apps/v1", None),
        ("/api/v1/namespaces/x/pods/y/log/more", None),
        ("/api/v1//pods", None),
    ],
)  # fmt: skip
def test_what_a_path_names(path: str, target: Target | None) -> None:
    assert parse_target(path) == target

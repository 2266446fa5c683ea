"""Where pods fit: the scheduler's predicates and its words."""

from __future__ import annotations

from typing import Any

import pytest

from kaito.api.meta import Json
from kaito.local.robots.fit import misfits, unschedulable_words
from kaito.local.robots.resources import free_on, requests_of


def node(labels: Json | None = None, taints: list[Json] | None = None, gpus: int = 1, **spec: Any) -> Json:
    return {
        "metadata": {"name": "n1", "labels": labels or {"zone": "a", "gpus": "4"}},
        "spec": {"taints": taints or []} | spec,
        "status": {"allocatable": {"cpu": "4", "memory": "16Gi", "pods": "110", "nvidia.com/gpu": str(gpus)}},
    }


def pod(requests: Json | None = None, **spec: Any) -> Json:
    return {"spec": {"containers": [{"resources": {"requests": requests or {}}}]} | spec}


def affinity(*terms: list[Json]) -> Json:
    selector = {"nodeSelectorTerms": [{"matchExpressions": list(term)} for term in terms]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": selector}}


def expression(key: str, operator: str, *values: str) -> Json:
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("terms", "fits"),
    [
        ([[expression("zone", "In", "a", "b")]], True),
        ([[expression("zone", "NotIn", "a")]], False),
        ([[expression("absent", "NotIn", "a")]], True),
        ([[expression("zone", "Exists")]], True),
        ([[expression("absent", "DoesNotExist"), expression("zone", "In", "b")]], False),
        ([[expression("zone", "In", "b")], [expression("gpus", "Gt", "3")]], True),
        ([[expression("gpus", "Lt", "4")]], False),
        ([[expression("zone", "Gt", "3")]], False),
        ([[]], False),
    ],
)
def test_affinity_terms_are_alternatives_of_which_every_expression_must_hold(terms: list[list[Json]], fits: bool):
    assert (misfits(pod(affinity=affinity(*terms)), node(), [], minor=36) == []) is fits


def test_a_node_selector_must_match():
    assert misfits(pod(nodeSelector={"zone": "a"}), node(), [], minor=36) == []
    assert misfits(pod(nodeSelector={"zone": "b"}), node(), [], minor=20) == [
        "node(s) didn't match Pod's node affinity"
    ]


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"key": "sku", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "sku", "value": "gpu"}, True),
        ({"key": "sku", "value": "cpu"}, False),
        ({"key": "sku", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_a_taint_keeps_off_the_pods_that_do_not_tolerate_it(toleration: Json, fits: bool):
    there = node(taints=[{"key": "sku", "value": "gpu", "effect": "NoSchedule"}])
    found = misfits(pod(tolerations=[toleration]), there, [], minor=36)
    assert found == ([] if fits else ["node(s) had untolerated taint {sku: gpu}"])


def test_a_preference_is_no_taint():
    assert misfits(pod(), node(taints=[{"key": "soft", "effect": "PreferNoSchedule"}]), [], minor=36) == []


def test_a_cordoned_node_takes_nothing():
    assert misfits(pod(), node(unschedulable=True), [], minor=36) == ["node(s) were unschedulable"]


def test_every_lacking_resource_is_named():
    asked = pod({"nvidia.com/gpu": "2", "cpu": "5", "memory": "1Gi"})
    assert misfits(asked, node(), [], minor=36) == ["Insufficient cpu", "Insufficient nvidia.com/gpu"]


def test_pods_that_have_ended_hold_nothing():
    running = pod({"nvidia.com/gpu": "1"}) | {"status": {"phase": "Running"}}
    ended = pod({"nvidia.com/gpu": "1"}) | {"status": {"phase": "Succeeded"}}
    assert free_on(node(gpus=2), [running, ended])["nvidia.com/gpu"] == 1000


def test_an_init_container_counts_where_it_asks_for_more_than_all_others():
    spec = {
        "containers": [{"resources": {"requests": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": "500m"}}}],
        "initContainers": [{"resources": {"requests": {"cpu": "4", "memory": "1Gi"}}}],
    }
    assert requests_of({"spec": spec}) == {"cpu": 4000, "memory": 1000 * 2**30, "pods": 1000}


def test_reasons_are_counted():
    words = unschedulable_words(3, ["b", "a", "b"], minor=20)
    assert words == "0/3 nodes are available: 1 a, 2 b."

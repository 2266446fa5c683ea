"""The estimator against upstream's acceptance vectors, and its laws."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.plan.catalog import CLOUDS, find_preset, find_sku, presets, skus
from kaito.plan.estimate import DoesNotFit, estimate_nodes, gpu_memory_utilization

HERE = Path(__file__).parent
PRESETS = st.sampled_from(list(presets().values()))
SKUS = st.sampled_from([sku for cloud in CLOUDS for sku in skus(cloud).values()])


def rows(name: str) -> list[dict[str, str]]:
    with (HERE / name).open() as file:
        return list(csv.DictReader(file))


def test_there_are_480_vectors() -> None:
    assert len(rows("vectors.csv")) == 480


@pytest.mark.parametrize("model_id", list(dict.fromkeys(row["model_id"] for row in rows("vectors.csv"))))
def test_nodes_and_parallelism_are_upstreams_on_every_vector(model_id: str) -> None:
    expected = {
        row["instance_type"]: (int(row["nodes"]), row["mode"])
        for row in rows("vectors.csv")
        if row["model_id"] == model_id
    }
    preset = find_preset(model_id)
    assert preset is not None
    found = {}
    for instance_type in expected:
        sku = find_sku("azure", instance_type)
        assert sku is not None
        estimate = estimate_nodes(preset, sku)
        found[instance_type] = (estimate.nodes, str(estimate.parallelism))
    assert found == expected


@given(preset=PRESETS, sku=SKUS, context=st.integers(1, 1 << 20), more=st.integers(1, 1 << 18))
def test_more_context_never_needs_fewer_nodes(preset, sku, context: int, more: int) -> None:
    try:
        larger = estimate_nodes(preset, sku, context_tokens=context + more)
    except DoesNotFit:
        return
    smaller = estimate_nodes(preset, sku, context_tokens=context)
    assert (smaller.nodes <= larger.nodes) and (smaller.nodes_exact <= larger.nodes_exact)


@given(preset=PRESETS, sku=SKUS, heavier=st.floats(0.1, 500))
def test_heavier_weights_never_need_fewer_nodes_nor_allow_more_context(preset, sku, heavier: float) -> None:
    try:
        light, heavy = (
            estimate_nodes(model, sku) for model in (preset, replace(preset, weights_gib=preset.weights_gib + heavier))
        )
    except DoesNotFit:
        return
    assert light.nodes <= heavy.nodes
    assert light.nodes_exact <= heavy.nodes_exact


@given(preset=PRESETS, sku=SKUS, factor=st.integers(2, 8))
def test_more_memory_per_gpu_never_needs_more_nodes(preset, sku, factor: int) -> None:
    try:
        small = estimate_nodes(preset, sku)
    except DoesNotFit:
        return
    large = estimate_nodes(preset, replace(sku, memory_gib=sku.memory_gib * factor))
    assert large.nodes <= small.nodes


@given(preset=PRESETS, sku=SKUS)
def test_the_budget_adds_up_to_what_may_be_used_of_the_gpu(preset, sku) -> None:
    try:
        budget = estimate_nodes(preset, sku).budget
    except DoesNotFit:
        return
    parts = budget.reserve + budget.weights + budget.overhead + budget.kv_cache
    assert parts == pytest.approx(max(budget.usable, budget.reserve + budget.weights + budget.overhead))
    assert budget.usable <= budget.total


def test_a_context_that_does_not_fit_says_what_takes_the_room() -> None:
    preset, sku = find_preset("gemma-4-31b-it"), find_sku("azure", "Standard_NV36ads_A10_v5")
    assert preset is not None and sku is not None
    with pytest.raises(DoesNotFit, match=r"google/gemma-4-31B-it does not fit Standard_NV36ads_A10_v5.*262144 tokens"):
        estimate_nodes(preset, sku, context_tokens=262144)


def test_a_context_must_be_positive() -> None:
    preset, sku = find_preset("phi-4"), find_sku("azure", "Standard_NC24ads_A100_v4")
    assert preset is not None and sku is not None
    with pytest.raises(ValueError, match="context_tokens: 0"):
        estimate_nodes(preset, sku, context_tokens=0)


def test_the_engine_uses_less_of_an_a10() -> None:
    a10, a10g = find_sku("azure", "Standard_NV36ads_A10_v5"), find_sku("aws", "g5.xlarge")
    assert a10 is not None and a10g is not None
    assert (gpu_memory_utilization(a10), gpu_memory_utilization(a10g)) == (0.82, 0.84)

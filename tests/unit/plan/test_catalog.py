"""The catalogue is complete, and what follows from its numbers is what upstream derives."""

from __future__ import annotations

import csv
from math import ceil
from pathlib import Path

from kaito.plan.catalog import (
    ALIASES,
    find_preset,
    find_sku,
    find_sku_anywhere,
    presets,
    similar_presets,
    similar_skus,
    skus,
)
from kaito.plan.pods.probes import startup_failures

DERIVED = Path(__file__).parent / "derived.csv"


def test_derived_numbers_are_upstreams_for_all_sixty_models() -> None:
    with DERIVED.open() as file:
        expected = {
            row["model_id"]: (int(row["disk_gib"]), row["attention"], int(row["bytes_per_token"]))
            for row in csv.DictReader(file)
        }
    found = {p.model_id: (p.disk_gib, p.attention, p.bytes_per_token) for p in presets().values()}
    assert len(found) == 60
    assert found == expected


def test_parsers_and_start_times_are_upstreams_but_for_phi_4_mini_whose_parser_upstream_misses() -> None:
    with DERIVED.open() as file:
        told = {
            row["model_id"]: (row["tool_parser"], row["reasoning_parser"], int(row["startup_failures"]))
            for row in csv.DictReader(file)
        }
    told["microsoft/Phi-4-mini-instruct"] = ("phi4_mini_json", "", 180)
    found = presets().values()
    assert {p.model_id: (p.tool_parser, p.reasoning_parser, startup_failures(p.weights_gib)) for p in found} == told


def test_every_model_is_found_by_id_by_short_name_and_by_alias_in_any_case() -> None:
    for preset in presets().values():
        assert find_preset(preset.model_id.upper()) == preset
        assert find_preset(preset.name) == preset
    assert len(ALIASES) == 25
    assert {alias: find_preset(alias.title()).model_id.lower() for alias in ALIASES} == ALIASES  # type: ignore[union-attr]


def test_an_unknown_model_has_neighbours_to_suggest() -> None:
    assert find_preset("phi-3.5-mini-instuct") is None
    assert similar_presets("phi-3.5-mini-instuct")[0] == "phi-3.5-mini-instruct"
    assert similar_presets("zzzzzz") == ()


def test_the_tables_have_the_clouds_types() -> None:
    assert {cloud: len(skus(cloud)) for cloud in ("azure", "aws", "arc")} == {"azure": 14, "aws": 35, "arc": 8}
    sku = find_sku("azure", "STANDARD_nc96ads_a100_V4")
    assert sku is not None and (sku.name, sku.gpus, sku.memory_gib) == ("Standard_NC96ads_A100_v4", 4, 320)
    assert find_sku("aws", "Standard_NC96ads_A100_v4") is None
    assert find_sku_anywhere("g5.xlarge") == find_sku("aws", "g5.xlarge")
    assert similar_skus("azure", "Standard_NC24ads_A100_v5")[0] == "Standard_NC24ads_A100_v4"


def test_every_types_memory_is_whole_gib_per_accelerator_and_at_least_eight() -> None:
    for cloud in ("azure", "aws", "arc"):
        for sku in skus(cloud).values():
            assert sku.memory_gib % sku.gpus == 0 and ceil(sku.memory_gib / sku.gpus) >= 8, sku

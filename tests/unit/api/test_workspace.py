"""The Workspace model: what it takes, what it says of what it does not take."""

from __future__ import annotations

from typing import Any

from kaito.api.names import bounded_name, node_claim_name
from kaito.api.workspace import WORKSPACE, Workspace, parse_workspace

QUICKSTART: dict[str, Any] = {
    "apiVersion": "kaito.sh/v1beta1",
    "kind": "Workspace",
    "metadata": {"name": "workspace-phi-3-5-mini", "namespace": "default", "uid": "u", "resourceVersion": "7"},
    "resource": {
        "instanceType": "Standard_NC24ads_A100_v4",
        "labelSelector": {"matchLabels": {"apps": "phi-3-5"}},
    },
    "inference": {"preset": {"name": "phi-3.5-mini-instruct"}},
}


def test_the_quick_start_is_a_workspace() -> None:
    found = parse_workspace(QUICKSTART)
    assert isinstance(found, Workspace)
    assert found.ref == WORKSPACE.ref("default", "workspace-phi-3-5-mini")
    assert found.metadata.resource_version == "7"
    assert found.resource.instance_type == "Standard_NC24ads_A100_v4"
    assert found.inference is not None and found.inference.preset is not None
    assert found.inference.preset.name == "phi-3.5-mini-instruct"


def test_what_does_not_fit_is_told_by_field_value_and_expectation() -> None:
    broken = QUICKSTART | {"resource": {"instanceType": 3, "partition": {"mode": "half"}}}
    assert parse_workspace(broken) == (
        "resource.instanceType: 3: Input should be a valid string",
        "resource.labelSelector: Field required",
        "resource.partition.mode: 'half': Input should be 'mig' or 'accelerator'",
    )


def test_metadata_that_does_not_fit_is_told_too() -> None:
    found = parse_workspace(QUICKSTART | {"metadata": {"name": 5}})
    assert isinstance(found, tuple) and found[0].startswith("metadata: ")


def test_claim_names_are_deterministic_distinct_and_fit_every_provider() -> None:
    variants = [
        node_claim_name("a", "b", 0),
        node_claim_name("a", "b", 1),
        node_claim_name("ab", "", 0),
        node_claim_name("a", "b", 0, replaces_uid="u"),
        node_claim_name("a", "b", 0, salt=1),
    ]
    assert len(set(variants)) == len(variants)
    assert all(len(name) == 12 and name.startswith("ws") and name.isalnum() for name in variants)
    assert node_claim_name("a", "b", 0) == variants[0]


def test_long_names_are_cut_and_stay_distinct() -> None:
    first, second = bounded_name("x" * 70), bounded_name("x" * 71)
    assert (len(first), first != second, bounded_name("short")) == (63, True, "short")

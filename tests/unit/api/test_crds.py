"""The generated CustomResourceDefinition is structural, and upstream's to its users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from kaito.api.crds import crds, node_claim_crd, workspace_crd

CRD: dict[str, Any] = workspace_crd()
V1ALPHA1, V1BETA1 = CRD["spec"]["versions"]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}[]")


def test_every_node_of_the_schema_is_structural() -> None:
    for version in (V1ALPHA1, V1BETA1):
        for path, node in nodes(version["schema"]["openAPIV3Schema"]):
            assert "type" in node, path
            assert not {"$ref", "anyOf", "oneOf", "allOf", "title", "$defs"} & set(node), path
            assert not ("properties" in node and "additionalProperties" in node), path


def test_every_field_has_a_description_for_kubectl_explain() -> None:
    schema = V1BETA1["schema"]["openAPIV3Schema"]
    bare = [
        path
        for path, node in nodes(schema)
        if path.count(".") >= 1 and "description" not in node and not path.endswith("[]")
    ]
    assert bare == [".apiVersion", ".kind", ".metadata"]


def test_printer_columns_are_upstreams_in_order() -> None:
    names = [column["name"] for column in V1BETA1["additionalPrinterColumns"]]
    assert names == [
        "Instance",
        "ResourceReady",
        "InferenceReady",
        "JobStarted",
        "WorkspaceSucceeded",
        "TargetNodeCount",
        "State",
        "Age",
    ]
    assert [c["name"] for c in V1ALPHA1["additionalPrinterColumns"]] == [*names[:5], "Age"]


def test_names_versions_and_requirements_are_upstreams() -> None:
    assert CRD["metadata"]["name"] == "workspaces.kaito.sh"
    assert CRD["spec"]["names"]["shortNames"] == ["wk", "wks"]
    assert [(v["name"], v["served"], v["storage"]) for v in CRD["spec"]["versions"]] == [
        ("v1alpha1", True, False),
        ("v1beta1", True, True),
    ]
    schema = V1BETA1["schema"]["openAPIV3Schema"]
    assert "required" not in schema
    assert schema["properties"]["resource"]["required"] == ["labelSelector"]
    assert schema["properties"]["tuning"]["required"] == ["input", "output"]
    assert schema["properties"]["resource"]["properties"]["count"]["default"] == 1
    old = V1ALPHA1["schema"]["openAPIV3Schema"]["properties"]
    assert old["resource"]["properties"]["instanceType"]["default"] == "Standard_NC24ads_A100_v4"
    assert "partition" not in old["resource"]["properties"]


def test_what_users_write_freely_is_kept() -> None:
    template = V1BETA1["schema"]["openAPIV3Schema"]["properties"]["inference"]["properties"]["template"]
    assert template["x-kubernetes-preserve-unknown-fields"] is True
    assert set(crds()) == {f"kaito.sh_{plural}.yaml" for plural in ("inferencesets", "ragengines", "workspaces")}


def test_the_quick_starts_node_claim_crd_is_the_one_of_the_tests() -> None:
    path = Path(__file__).parents[3] / "examples" / "quickstart" / "nodeclaim-crd.yaml"
    assert yaml.safe_load(path.read_text()) == node_claim_crd()

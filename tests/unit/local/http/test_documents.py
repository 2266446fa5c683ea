"""Discovery and schemas: what clients learn about the server before they ask for objects."""

from __future__ import annotations

import re
from typing import Any

from kaito.api.crds import node_claim_crd
from tests.unit.local.http.face import face

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


async def test_the_old_and_the_aggregated_discovery_name_the_same_resources() -> None:
    async with face() as api:
        old: set[tuple[str, str, str]] = set()
        _, groups = await api.ask("GET", "/apis")
        paths = ["/api/v1", *(f"/apis/{v['groupVersion']}" for group in groups["groups"] for v in group["versions"])]
        for path in paths:
            _, found = await api.ask("GET", path)
            old |= {(found["groupVersion"], row["name"], row["kind"]) for row in found["resources"]}
        new: set[tuple[str, str, str]] = set()
        for path in ("/api", "/apis"):
            _, found = await api.ask("GET", path, None, Accept=AGGREGATED)
            assert (found["kind"], found["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
            for group in found["items"]:
                for version in group["versions"]:
                    name = group["metadata"].get("name", "")
                    group_version = f"{name}/{version['version']}" if name else version["version"]
                    for row in version["resources"]:
                        new.add((group_version, row["resource"], row["responseKind"]["kind"]))
                        for inner in row.get("subresources", ()):
                            plural = f"{row['resource']}/{inner['subresource']}"
                            new.add((group_version, plural, inner["responseKind"]["kind"]))
        assert old == new
        assert ("kaito.sh/v1beta1", "workspaces", "Workspace") in old
        assert groups["groups"][[g["name"] for g in groups["groups"]].index("kaito.sh")]["preferredVersion"] == {
            "groupVersion": "kaito.sh/v1beta1",
            "version": "v1beta1",
        }


async def test_1_20_knows_neither_aggregated_discovery_nor_openapi_3() -> None:
    async with face((1, 20)) as api:
        assert (await api.ask("GET", "/apis", None, Accept=AGGREGATED))[1]["kind"] == "APIGroupList"
        assert (await api.ask("GET", "/openapi/v3"))[0] == 404


async def test_every_reference_in_a_schema_leads_somewhere() -> None:
    async with face() as api:
        _, index = await api.ask("GET", "/openapi/v3")
        assert set(index["paths"]) > {"api/v1", "apis/apps/v1", "apis/kaito.sh/v1beta1"}
        for entry in index["paths"].values():
            status, found = await api.ask("GET", entry["serverRelativeURL"])
            assert status == 200
            names = set(re.findall(r"#/components/schemas/([^\"' ]+)'", str(found)))
            assert names <= set(found["components"]["schemas"])
        _, old = await api.ask("GET", "/openapi/v2")
        assert set(re.findall(r"#/definitions/([^\"' ]+)'", str(old))) <= set(old["definitions"])


async def test_patches_take_field_validation_which_kubectl_looks_for() -> None:
    async with face() as api:
        for name, path in (
            ("apis/kaito.sh/v1beta1", "/apis/kaito.sh/v1beta1/namespaces/{namespace}/workspaces/{name}"),
            ("api/v1", "/api/v1/namespaces/{name}"),
        ):
            _, found = await api.ask("GET", f"/openapi/v3/{name}")
            parameters = [item["name"] for item in found["paths"][path]["patch"]["parameters"]]
            assert {"fieldValidation", "dryRun", "force"} <= set(parameters)


async def test_built_in_lists_carry_their_merge_keys() -> None:
    async with face() as api:
        _, found = await api.ask("GET", "/openapi/v3/apis/apps/v1")
        schemas = found["components"]["schemas"]

        def merge_key(name: str, field: str) -> Any:
            return schemas[f"io.k8s.api.v1.{name}"]["properties"][field].get("x-kubernetes-patch-merge-key")

        assert [merge_key("PodSpec", field) for field in ("containers", "volumes", "tolerations")] == [
            "name",
            "name",
            None,
        ]
        assert [merge_key("Container", field) for field in ("env", "ports", "volumeMounts", "args")] == [
            "name",
            "containerPort",
            "mountPath",
            None,
        ]


async def test_a_new_kind_has_a_new_document_and_the_hash_of_a_changed_one_changes() -> None:
    async with face() as api:
        before = (await api.ask("GET", "/openapi/v3"))[1]["paths"]
        crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        assert (await api.ask("POST", crds, node_claim_crd()))[0] == 201
        after = (await api.ask("GET", "/openapi/v3"))[1]["paths"]
        assert set(after) - set(before) == {"apis/karpenter.sh/v1"}
        name = "workspaces.kaito.sh"
        patch = [
            {"op": "add", "path": "/spec/versions/1/schema/openAPIV3Schema/properties/x", "value": {"type": "string"}}
        ]
        headers = {"Content-Type": "application/json-patch+json"}
        assert (await api.ask("PATCH", f"{crds}/{name}", patch, **headers))[0] == 200
        changed = (await api.ask("GET", "/openapi/v3"))[1]["paths"]
        assert {path for path in after if after[path] != changed[path]} == {"apis/kaito.sh/v1beta1"}
        _, found = await api.ask("GET", "/openapi/v3/apis/kaito.sh/v1beta1")
        assert "x" in found["components"]["schemas"]["sh.kaito.v1beta1.Workspace"]["properties"]

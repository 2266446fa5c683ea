"""Between versions of a CRD nothing is lost. What the version of a request does not know is pruned: none converts."""

from __future__ import annotations

import itertools
from copy import deepcopy
from typing import Any

import pytest

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION
from kaito.api.crds import inference_set_crd, ragengine_crd, workspace_crd
from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import Json, ResourceKind
from kaito.api.ragengine import RAGENGINE
from kaito.api.workspace import WORKSPACE
from kaito.local.apiserver import ApiServer
from kaito.local.client import LocalClient
from tests.builders import moment, ragengine, workspace
from tests.unit.cli.test_plan_documents import inference_set

CRDS: dict[ResourceKind, Json] = {
    WORKSPACE: workspace_crd(),
    INFERENCE_SET: inference_set_crd(),
    RAGENGINE: ragengine_crd(),
}
BODIES = {WORKSPACE: workspace("x"), INFERENCE_SET: inference_set(), RAGENGINE: ragengine("x")}
BLOCKER = {"gate": "g", "reason": "r", "message": "m", "culprit": "c", "nextStep": "n", "since": "2026-01-01T00:00:00Z"}
STATUSES: dict[ResourceKind, Json] = {
    WORKSPACE: {"state": "Ready", "targetNodeCount": 2, "contextTokens": 8192, "blockers": [BLOCKER]},
    INFERENCE_SET: {"replicas": 1, "readyReplicas": 1, "blockers": [BLOCKER]},
    RAGENGINE: {"state": "Ready", "workerNodes": ["n"], "blockers": [BLOCKER]},
}


async def client_with(crd: Json) -> LocalClient:
    ids = itertools.count()
    server = ApiServer(now=moment, new_uid=lambda: f"uid-{next(ids)}")
    server.start()
    client = LocalClient(server)
    await client.create(CUSTOM_RESOURCE_DEFINITION, "", deepcopy(crd))
    return client


async def stored(client: LocalClient, kind: ResourceKind) -> tuple[Any, Json]:
    """One object with a status, as the server keeps it."""
    body = deepcopy(BODIES[kind])
    body["metadata"] = {"name": "x", "namespace": "default"}
    await client.create(kind, "default", body)
    ref = kind.ref("default", "x")
    await client.merge_patch(kind, ref, {"status": STATUSES[kind]}, subresource="status")
    return ref, await client.read(kind, ref)


def kept(body: Json) -> Json:
    return {key: value for key, value in body.items() if key not in ("metadata", "apiVersion")}


@pytest.mark.parametrize("kind", CRDS)
def test_the_older_version_knows_all_of_the_status(kind: ResourceKind) -> None:
    """A real server prunes the whole object, its status too, when it is written through the older version."""
    schemas = {
        version["name"]: version["schema"]["openAPIV3Schema"]["properties"]
        for version in CRDS[kind]["spec"]["versions"]
    }
    assert schemas["v1alpha1"]["status"] == schemas["v1beta1"]["status"]


@pytest.mark.parametrize("kind", CRDS)
async def test_an_edit_through_the_older_version_loses_no_status(kind: ResourceKind) -> None:
    client = await client_with(CRDS[kind])
    ref, before = await stored(client, kind)
    assert before["status"].items() >= STATUSES[kind].items()
    older = kind._replace(version="v1alpha1")
    await client.merge_patch(older, ref, {"metadata": {"labels": {"a": "b"}}})
    after = await client.read(kind, ref)
    assert after["metadata"]["labels"] == {"a": "b"} and kept(after) == kept(before)


@pytest.mark.parametrize("kind", CRDS)
async def test_a_crd_that_knows_less_and_one_that_knows_more_leave_stored_objects_as_they_are(
    kind: ResourceKind,
) -> None:
    """Upgrade and way back: until somebody writes an object, nothing that is stored of it changes."""
    client = await client_with(CRDS[kind])
    ref, before = await stored(client, kind)
    less = deepcopy(CRDS[kind])
    for version in less["spec"]["versions"]:
        del version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["blockers"]
    name = CUSTOM_RESOURCE_DEFINITION.ref("", CRDS[kind]["metadata"]["name"])
    await client.merge_patch(CUSTOM_RESOURCE_DEFINITION, name, {"spec": less["spec"]})
    await client.merge_patch(CUSTOM_RESOURCE_DEFINITION, name, {"spec": CRDS[kind]["spec"]})
    assert kept(await client.read(kind, ref)) == kept(before)

"""`kaito explain` against a server that only lists: the same chain as the operator's, without an operator."""

from __future__ import annotations

import argparse
import json
from typing import Any

import msgspec
import pytest

from kaito.api.core import NODE, POD, SERVICE
from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workloads import STATEFUL_SET
from kaito.api.workspace import WORKSPACE
from kaito.cli.explain import DONE, add_arguments, as_json, explain_root, parse_object, run, shown_provisioner
from kaito.cli.states import state_of
from kaito.kube.client import ALL, Discovery, Scope
from kaito.kube.errors import Forbidden, NotFound
from kaito.plan.explain import render
from kaito.settings import PlanSettings
from tests.builders import SKU, at, condition, config_map, metadata, moment, node, node_claim, pod, ref_of, workspace

REF = ObjectRef("Workspace", "default", "phi")
QUOTA = [condition("Launched", "False", "QuotaExceeded", "no NCads quota", since=2)]


class ListingClient:
    """What explain needs of a KubeClient: discovery, reads and paged lists (two objects a page)."""

    def __init__(self, *bodies: Json, absent: tuple[ResourceKind, ...] = (), forbidden: tuple[ResourceKind, ...] = ()):
        self.bodies = {ref_of(body): body for body in bodies}
        self.kinds = [
            kind
            for kind in (WORKSPACE, INFERENCE_SET, NODE_CLAIM, NODE, POD, SERVICE, STATEFUL_SET)
            if kind not in absent
        ]
        self.forbidden = forbidden

    async def discover(self) -> Discovery:
        return Discovery(1, 30, frozenset((kind.group, kind.version, kind.plural) for kind in self.kinds))

    async def read(self, kind: ResourceKind, ref: ObjectRef) -> Json:
        if ref not in self.bodies:
            raise NotFound("no")
        return self.bodies[ref]

    async def list_page(
        self, kind: ResourceKind, scope: Scope = ALL, *, limit: int = 500, continue_: str = ""
    ) -> bytes:
        if kind in self.forbidden:
            raise Forbidden("no")
        found = [body for ref, body in sorted(self.bodies.items()) if ref.kind == kind.kind]
        found = [body for body in found if scope.namespace in ("", body["metadata"].get("namespace"))]
        if scope.label_selector:
            found = [body for body in found if scope.label_selector in (body["metadata"].get("labels") or {})]
        start = int(continue_ or 0)
        more = {"continue": str(start + 2)} if len(found) > start + 2 else {}
        return msgspec.json.encode({"metadata": more, "items": found[start : start + 2]})


async def told(client: Any, now_s: float = 62) -> str:
    return render(await explain_root(client, REF, moment(now_s), PlanSettings()), moment(now_s))


async def test_the_chain_is_printed_without_an_operator() -> None:
    client = ListingClient(
        workspace(target=1, status={"state": "Pending"}), node_claim("ws1", conditions=QUOTA), node("other")
    )
    assert (await told(client)).splitlines()[:6] == [
        "workspace/default/phi is Pending",
        "  because ClaimLaunched failed (QuotaExceeded) since 1m",
        "      no NCads quota",
        "      object: nodeclaim/ws1",
        "      next:   ask the cloud provider for more quota of this VM family, or choose another instanceType",
        "  so these wait: NodeRegistered, ClaimInitialized, NodeReady, TaintsCleared, InstanceTypeMatched, "
        "GPUAllocatable, WorkloadCreated, PodScheduled, ContainersStarted, ServerReady",
    ]


async def test_a_workspace_that_nobody_took_up_says_so_first() -> None:
    lines = (await told(ListingClient(workspace(finalizer=False)))).splitlines()
    assert lines[:4] == [
        "workspace/default/phi is not reconciled yet",
        "  because Reconciled waiting (NotReconciled) since 0s",
        "      no operator has taken up this Workspace: it does not carry our finalizer",
        "      object: workspace/default/phi",
    ]
    assert "1 node" in lines[-1]


async def test_a_deletion_names_the_claim_and_its_finalizer() -> None:
    claim = node_claim("ws1", deletionTimestamp="2026-01-31T12:00:10Z", finalizers=["karpenter.sh/termination"])
    lines = (await told(ListingClient(workspace(deletionTimestamp="2026-01-31T12:00:05Z"), claim))).splitlines()
    assert lines[:3] == [
        "workspace/default/phi is being deleted",
        "  because Released waiting (NodeClaimTerminating) since 52s",
        "      NodeClaim ws1 has to go first; it is held by karpenter.sh/termination",
    ]


async def test_an_object_that_does_not_fit_names_the_field() -> None:
    assert "labelSelector" in await told(ListingClient(workspace(resource={"labelSelector": 5})))


async def test_a_forbidden_kind_and_an_absent_one_are_named() -> None:
    assert "Pod: not listed yet" in await told(ListingClient(workspace(target=1), forbidden=(POD,)))
    assert "NodeClaimKindAbsent" in await told(ListingClient(workspace(target=1), absent=(NODE_CLAIM,)))


async def test_all_pages_of_a_list_are_read() -> None:
    pods = [pod(f"phi-{index}", node="n1", ready=True) for index in range(3)]
    others = [pod(f"x-{index}", owner="x") for index in range(3)]
    chain = await explain_root(
        ListingClient(workspace(target=3), *others, *pods),  # type: ignore[arg-type]
        REF,
        moment(0),
        PlanSettings(),
    )
    server = next(item for item in as_json(chain)["passed"] if item["stage"] == "ServerReady")
    assert server == {"stage": "ServerReady", "message": "3 of 3 pods ready", "at": "2026-01-31T12:00:00Z"}


async def test_a_missing_workspace_is_named() -> None:
    with pytest.raises(NotFound, match="no Workspace phi in namespace default"):
        await told(ListingClient())


@pytest.mark.parametrize("text", ["workspace/phi", "wk/phi", "Workspace/phi", "phi"])
def test_the_object_is_understood(text: str) -> None:
    assert parse_object(text, "default") == REF


@pytest.mark.parametrize("text", ["pod/phi", "workspace/", ""])
def test_another_kind_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected workspace/NAME"):
        parse_object(text, "default")


def test_a_bad_command_line_is_an_exit_status_and_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert run(parser.parse_args(["pod/phi"])) == 2
    assert "expected workspace/NAME" in capsys.readouterr().err


async def test_machines_get_the_same_as_json() -> None:
    client = ListingClient(workspace(target=1), node_claim("ws1", conditions=QUOTA))
    chain: Any = as_json(await explain_root(client, REF, moment(62), PlanSettings()))  # type: ignore[arg-type]
    assert json.loads(json.dumps(chain))["causes"] == [
        {
            "gate": "ClaimLaunched",
            "failed": True,
            "reason": "QuotaExceeded",
            "message": "no NCads quota",
            "culprit": "nodeclaim/ws1",
            "since": "2026-01-31T12:00:02Z",
            "nextStep": "ask the cloud provider for more quota of this VM family, or choose another instanceType",
        }
    ]


async def test_the_config_map_that_the_workspace_names_is_looked_up() -> None:
    config = config_map("mine", inference_config__yaml="vllm:\n  max-model-len: 4096\n")
    assert "there is no ConfigMap mine" in await told(ListingClient(workspace(config="mine")))
    assert "4096 tokens of context" in await told(ListingClient(workspace(config="mine"), config))


async def test_the_users_nodes_are_found_by_their_labels() -> None:
    labels = {
        "apps": "phi",
        "nvidia.com/gpu.product": "A100",
        "nvidia.com/gpu.count": "1",
        "nvidia.com/gpu.memory": "81920",
    }
    client: Any = ListingClient(
        workspace(instance_type=None), node("mine", labels=labels, gpus=None), node("other", gpus=None)
    )
    assert await shown_provisioner(client, REF) == "byo"
    settings = PlanSettings(node_provisioner="byo")
    chain = as_json(await explain_root(client, REF, moment(9), settings))
    assert [(cause["reason"], cause["culprit"]) for cause in chain["causes"]] == [("DevicePluginMissing", "node/mine")]


ISET = ObjectRef("InferenceSet", "default", "phi")


def replica(name: str, **more: Any) -> Json:
    owner = {"kind": "InferenceSet", "name": "phi", "uid": "uid-default-phi", "controller": True}
    label = {"inferenceset.kaito.sh/created-by": "phi"}
    return workspace(name, target=1, labels=label, ownerReferences=[owner], **more)


def inference_set(finalizer: bool = True, **meta: Any) -> Json:
    finalizers = ["inferenceset.finalizer.kaito.sh"] if finalizer else []
    spec = {
        "replicas": 2,
        "labelSelector": {"matchLabels": {"apps": "phi"}},
        "template": {"inference": {"preset": {"name": "phi-3.5-mini-instruct"}}, "resource": {"instanceType": SKU}},
    }
    status = {"readyReplicas": 0, "conditions": [condition("InferenceSetReady", "False")]}
    return {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "InferenceSet",
        "metadata": metadata("phi", "default", finalizers=finalizers, **meta),
        "spec": spec,
        "status": status,
    }


async def test_an_inference_set_is_explained_down_to_the_machine_of_its_replica() -> None:
    claim = node_claim("ws1", owner="phi-a", conditions=QUOTA)
    client: Any = ListingClient(inference_set(), replica("phi-a"), replica("phi-b"), claim)
    chain = await explain_root(client, ISET, moment(62), PlanSettings())
    lines = render(chain, moment(62)).splitlines()
    assert lines[0] == "inferenceset/default/phi is Pending"
    assert "    workspace/default/phi-a is not reconciled yet" in lines
    assert "      because ClaimLaunched failed (QuotaExceeded) since 1m" in lines
    parts = {part["object"]: part["causes"][0]["reason"] for part in as_json(chain)["parts"]}
    assert parts == {"workspace/default/phi-a": "QuotaExceeded", "workspace/default/phi-b": "NodeClaimNotReady"}


async def test_the_deletion_of_an_inference_set_names_the_machines_of_its_replicas() -> None:
    claim = node_claim(
        "ws1",
        owner="phi-a",
        owner_uid="uid-default-phi-a",
        deletionTimestamp=at(10),
        finalizers=["karpenter.sh/termination"],
    )
    gone = replica("phi-a", deletionTimestamp=at(5))
    client: Any = ListingClient(inference_set(deletionTimestamp=at(5)), gone, claim)
    text = render(await explain_root(client, ISET, moment(62), PlanSettings()), moment(62))
    assert text.startswith("inferenceset/default/phi is being deleted")
    assert "NodeClaim ws1 has to go first; it is held by karpenter.sh/termination" in text


async def test_an_inference_set_that_nobody_took_up_says_so() -> None:
    client: Any = ListingClient(inference_set(finalizer=False))
    (cause,) = as_json(await explain_root(client, ISET, moment(9), PlanSettings()))["causes"]
    assert cause["reason"] == "NotReconciled"


def test_a_finished_training_run_is_a_success() -> None:
    assert "Succeeded" in DONE and state_of({"metadata": {}, "status": {"state": "Succeeded"}}) in DONE


async def test_a_ready_inference_set_tells_of_each_replica() -> None:
    client: Any = ListingClient(inference_set(), replica("phi-a"), replica("phi-b"))
    chain = await explain_root(client, ISET, moment(62), PlanSettings())
    assert [part["object"] for part in as_json(chain)["parts"]] == [
        "workspace/default/phi-a",
        "workspace/default/phi-b",
    ]
    assert as_json(chain)["created"] == at(0)

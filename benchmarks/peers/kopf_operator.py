"""The Workspace operator as one would write it with kopf: `kopf run kopf_operator.py --all-namespaces`.

The same stages as ours: node count from the estimator, NodeClaims, waiting for node and GPUs, workload, conditions and
state. It uses our estimator and the bodies of our objects (computed once per Workspace), kopf's indexes and event
handlers for what it watches, and kubernetes-asyncio for what it writes. It has no timeline, blockers, replacement,
expectations or repair of edited children: less than ours does.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import kopf
from kubernetes_asyncio import client, config
from kubernetes_asyncio.client.exceptions import ApiException

from kaito.cli.plan_files import document_of
from kaito.cli.plan_world import offline
from kaito.plan.actions import Create
from kaito.plan.preview import preview
from kaito.settings import PlanSettings

GROUP, VERSION, PLURAL = "kaito.sh", "v1beta1", "workspaces"
GPU = "nvidia.com/gpu"
locks: dict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
wanted: dict[str, list[Create]] = {}  # by uid of the Workspace
api: Any = None


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
    global api  # noqa: PLW0603 (kopf's handlers have no other place)
    settings.posting.enabled = False
    settings.persistence.finalizer = "workspace.finalizer.kaito.sh"
    await config.load_kube_config(os.environ["KUBECONFIG"])
    api = client.ApiClient()


@kopf.on.cleanup()
async def stop(**_: Any) -> None:
    await api.close()


@kopf.index(GROUP, VERSION, PLURAL)
def workspaces(namespace: str, name: str, body: kopf.Body, **_: Any) -> Any:
    return {(namespace, name): body}


@kopf.index("karpenter.sh", "v1", "nodeclaims")
def claims(labels: kopf.Labels, body: kopf.Body, **_: Any) -> Any:
    return {owner_of(labels): body} if owner_of(labels) else None


@kopf.index("v1", "nodes")
def nodes(name: str, body: kopf.Body, **_: Any) -> Any:
    return {name: body}


@kopf.index("apps", "v1", "statefulsets", labels={"kaito.sh/workspace": kopf.PRESENT})
def workloads(namespace: str, labels: kopf.Labels, body: kopf.Body, **_: Any) -> Any:
    return {(namespace, labels["kaito.sh/workspace"]): body}


def owner_of(labels: Any) -> tuple[str, str] | None:
    name, namespace = labels.get("kaito.sh/workspace"), labels.get("kaito.sh/workspacenamespace")
    return (namespace, name) if name and namespace else None


@kopf.on.resume(GROUP, VERSION, PLURAL)
@kopf.on.create(GROUP, VERSION, PLURAL)
@kopf.on.update(GROUP, VERSION, PLURAL)
async def changed(namespace: str, name: str, **indices: Any) -> None:
    await reconcile((namespace, name), indices)


@kopf.on.delete(GROUP, VERSION, PLURAL)
async def deleted(namespace: str, name: str, claims: kopf.Index, **_: Any) -> None:
    for claim in claims.get((namespace, name), ()):
        await custom().delete_cluster_custom_object("karpenter.sh", "v1", "nodeclaims", claim.metadata.name)


@kopf.on.event("karpenter.sh", "v1", "nodeclaims")
async def claim_changed(labels: kopf.Labels, **indices: Any) -> None:
    if owner := owner_of(labels):
        await reconcile(owner, indices)


@kopf.on.event("v1", "nodes")
async def node_changed(name: str, labels: kopf.Labels, **indices: Any) -> None:
    if owner := owner_of(labels):
        await reconcile(owner, indices)


@kopf.on.event("apps", "v1", "statefulsets", labels={"kaito.sh/workspace": kopf.PRESENT})
async def workload_changed(namespace: str, labels: kopf.Labels, **indices: Any) -> None:
    await reconcile((namespace, labels["kaito.sh/workspace"]), indices)


async def reconcile(key: tuple[str, str], indices: dict[str, Any]) -> None:
    async with locks[key]:
        bodies = list(indices["workspaces"].get(key, ()))
        if not bodies or bodies[0].metadata.get("deletionTimestamp"):
            return
        body = dict(bodies[0])
        objects = wanted_of(body)
        machines = [create for create in objects if create.kind.kind == "NodeClaim"]
        have = {claim.metadata.name: claim for claim in indices["claims"].get(key, ())}
        for create in machines:
            if create.ref.name not in have:
                await make(create)
        ready_nodes = [name for claim in have.values() if (name := ready_node(claim, indices["nodes"]))]
        is_resourced = len(ready_nodes) >= len(machines)
        workload = next(iter(indices["workloads"].get(key, ())), None)
        if is_resourced and workload is None:
            for create in objects:
                if create.kind.kind != "NodeClaim":
                    await make(create)
        is_serving = workload is not None and workload.get("status", {}).get("readyReplicas", 0) >= len(machines)
        await report(key, body, len(machines), ready_nodes, is_resourced, is_serving)


def wanted_of(body: dict[str, Any]) -> list[Create]:
    uid = body["metadata"]["uid"]
    if uid not in wanted:
        now = datetime.now(UTC)  # noqa: TID251
        document = document_of("", body)
        assert document is not None
        found = preview(offline([document], now).view, document.ref, now, PlanSettings())
        creates = [step.action for step in found.steps if isinstance(step.action, Create)]
        wanted[uid] = [with_uid(create, uid) for create in creates]
    return wanted[uid]


def with_uid(create: Create, uid: str) -> Create:
    for owner in create.body["metadata"].get("ownerReferences") or ():
        owner["uid"] = uid
    return create


def ready_node(claim: Any, known: Any) -> str:
    """The node of the claim, once it is ready and offers its GPUs."""
    name = claim.get("status", {}).get("nodeName", "")
    for node in known.get(name, ()):
        status = node.get("status", {})
        is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))
        if is_ready and int(status.get("allocatable", {}).get(GPU, 0)) >= 1:
            return str(name)
    return ""


def custom() -> Any:
    return client.CustomObjectsApi(api)


async def make(create: Create) -> None:
    kind, namespace, body = create.kind, create.ref.namespace, create.body
    body = {"apiVersion": kind.api_version, "kind": kind.kind} | body
    try:
        match kind.kind:
            case "Service":
                await client.CoreV1Api(api).create_namespaced_service(namespace, body)
            case "StatefulSet":
                await client.AppsV1Api(api).create_namespaced_stateful_set(namespace, body)
            case "PodDisruptionBudget":
                await client.PolicyV1Api(api).create_namespaced_pod_disruption_budget(namespace, body)
            case _:
                await custom().create_cluster_custom_object(kind.group, kind.version, kind.plural, body)
    except ApiException as error:
        if error.status != 409:
            raise


async def report(
    key: tuple[str, str],
    body: dict[str, Any],
    target: int,
    ready_nodes: list[str],
    is_resourced: bool,
    is_serving: bool,
) -> None:
    before = body.get("status") or {}
    states = {"ResourceReady": is_resourced, "InferenceReady": is_serving, "WorkspaceSucceeded": is_serving}
    known = {item["type"]: item for item in before.get("conditions", ())}
    conditions = []
    for type_, is_true in states.items():
        status = "True" if is_true else "False"
        old = known.get(type_, {})
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: TID251
        conditions.append(
            {
                "type": type_,
                "status": status,
                "reason": type_ if is_true else "Pending",
                "message": "",
                "observedGeneration": body["metadata"]["generation"],
                "lastTransitionTime": old.get("lastTransitionTime") if old.get("status") == status else moment,
            }
        )
    status = {
        "conditions": conditions,
        "state": "Ready" if is_serving else "Pending",
        "targetNodeCount": target,
        "workerNodes": sorted(ready_nodes),
    }
    if {name: before.get(name) for name in status} != status:
        namespace, name = key
        await custom().patch_namespaced_custom_object_status(
            GROUP, VERSION, namespace, PLURAL, name, {"status": status}, _content_type="application/merge-patch+json"
        )

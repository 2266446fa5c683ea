"""The Workspace operator as one would write it with kopf: `kopf run -m benchmarks.peers.kopf_operator -A`.

What it does, like ours: the node count from the estimator (ours, asked once a Workspace); finalizer; ControllerRevision
and its two annotations; NodeClaims; when the stages of the nodes are open both Services, PodDisruptionBudget and
StatefulSet (the bodies are ours, made once a Workspace); every stage with its time, the blocker, all six conditions,
state and worker nodes in the status; Events of the deepest cause at five a second at most; children that somebody
deletes come back. It watches the same kinds with the same selectors. `python -m benchmarks.operator` compares what the
two leave behind: conditions, stages, fields of the status, children.

What it does not: replacement of nodes and instance types, tolerances and timeouts, shares of brought nodes, repair of
edited children, preconditions and expectations (a lock a Workspace instead), words of crashed containers, a journal,
metrics. It indexes only the fields that it reads, asks for one reconciliation however many events wait for it, and
writes a status when it differs: kopf itself patches finalizer and last-handled annotation.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import kopf
from kubernetes_asyncio import client, config
from kubernetes_asyncio.client.exceptions import ApiException

from benchmarks.peers.kopf_stages import Seen, Stage, stages, status_of
from kaito.cli.plan_files import document_of
from kaito.cli.plan_world import offline
from kaito.plan.actions import Create
from kaito.plan.catalog import find_preset, find_sku
from kaito.plan.estimate import Estimate, estimate_nodes
from kaito.plan.preview import preview
from kaito.settings import PlanSettings

Key = tuple[str, str]
GROUP, VERSION, PLURAL = "kaito.sh", "v1beta1", "workspaces"
LABEL, REVISION_LABEL, HASH = "kaito.sh/workspace", "workspace.kaito.io/name", "workspace.kaito.io/hash"
IDLE = (  # watched as ours are; of no Workspace here
    ("kaito.sh", "v1beta1", "ragengines"),
    ("kaito.sh", "v1alpha1", "inferencesets"),
    ("karpenter.sh", "v1", "nodepools"),
    ("apps", "v1", "deployments"),
    ("batch", "v1", "jobs"),
    ("storage.k8s.io", "v1", "storageclasses"),
)
EVENTS_PER_S = 5.0
locks: dict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)
asked: set[Key] = set()
wanted: dict[str, tuple[Estimate, list[Create]]] = {}  # by uid of the Workspace
told: dict[str, tuple[str, str]] = {}  # by uid: the last cause that an Event told of
next_event_s = 0.0
api: Any = None


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
    global api  # noqa: PLW0603 (kopf's handlers have no other place)
    settings.posting.enabled = False  # of kopf's own log; `kopf.event` posts all the same
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
def claims(name: str, meta: kopf.Meta, labels: kopf.Labels, status: kopf.Status, **_: Any) -> Any:
    if (owner := owner_of(labels)) is None or meta.get("deletionTimestamp"):
        return None
    found = {"name": name, "created": meta["creationTimestamp"], "node": status.get("nodeName", "")}
    return {owner: found | {"conditions": list(status.get("conditions", ()))}}


@kopf.index("v1", "nodes")
def nodes(name: str, labels: kopf.Labels, spec: kopf.Spec, status: kopf.Status, **_: Any) -> Any:
    found = {"name": name, "labels": dict(labels), "taints": list(spec.get("taints", ()))}
    return {
        name: found
        | {"allocatable": dict(status.get("allocatable", {})), "conditions": list(status.get("conditions", ()))}
    }


@kopf.index("v1", "pods", labels={LABEL: kopf.PRESENT})
def pods(namespace: str, name: str, labels: kopf.Labels, spec: kopf.Spec, status: kopf.Status, **_: Any) -> Any:
    found = {"name": name, "node": spec.get("nodeName", ""), "conditions": list(status.get("conditions", ()))}
    return {(namespace, labels[LABEL]): found | {"statuses": list(status.get("containerStatuses", ()))}}


def child(namespace: str, name: str, meta: kopf.Meta, labels: kopf.Labels, **_: Any) -> Any:
    owner = labels.get(LABEL) or labels.get(REVISION_LABEL)
    return {(namespace, owner): {"name": name, "created": meta["creationTimestamp"]}} if owner else None


statefulsets = kopf.index("apps", "v1", "statefulsets", id="statefulsets")(child)
services = kopf.index("v1", "services", id="services")(child)
budgets = kopf.index("policy", "v1", "poddisruptionbudgets", id="budgets", labels={LABEL: kopf.PRESENT})(child)
revisions = kopf.index("apps", "v1", "controllerrevisions", id="revisions", labels={REVISION_LABEL: kopf.PRESENT})(
    child
)


def owner_of(labels: Any) -> Key | None:
    name, namespace = labels.get(LABEL), labels.get("kaito.sh/workspacenamespace")
    return (namespace, name) if name and namespace else None


@kopf.on.resume(GROUP, VERSION, PLURAL)
@kopf.on.create(GROUP, VERSION, PLURAL)
@kopf.on.update(GROUP, VERSION, PLURAL)
async def changed(namespace: str, name: str, body: kopf.Body, patch: kopf.Patch, **indices: Any) -> None:
    patch.metadata.annotations.update({HASH: digest_of(body), "workspace.kaito.io/revision": "1"})
    await reconcile((namespace, name), indices)


@kopf.on.delete(GROUP, VERSION, PLURAL)
async def deleted(namespace: str, name: str, claims: kopf.Index, **_: Any) -> None:
    for claim in claims.get((namespace, name), ()):
        await custom().delete_cluster_custom_object("karpenter.sh", "v1", "nodeclaims", claim["name"])


@kopf.on.event("karpenter.sh", "v1", "nodeclaims")
@kopf.on.event("v1", "nodes")
async def machine_changed(labels: kopf.Labels, **indices: Any) -> None:
    if owner := owner_of(labels):
        await reconcile(owner, indices)


@kopf.on.event("v1", "pods", labels={LABEL: kopf.PRESENT})
@kopf.on.event("apps", "v1", "statefulsets", labels={LABEL: kopf.PRESENT})
@kopf.on.event("v1", "services", labels={LABEL: kopf.PRESENT})
@kopf.on.event("policy", "v1", "poddisruptionbudgets", labels={LABEL: kopf.PRESENT})
async def child_changed(namespace: str, labels: kopf.Labels, **indices: Any) -> None:
    await reconcile((namespace, labels[LABEL]), indices)


@kopf.on.event("apps", "v1", "controllerrevisions", labels={REVISION_LABEL: kopf.PRESENT})
async def revision_changed(namespace: str, labels: kopf.Labels, **indices: Any) -> None:
    await reconcile((namespace, labels[REVISION_LABEL]), indices)


async def idle(**_: Any) -> None:
    """Watched, and nothing to do."""


for group_version_plural in IDLE:
    kopf.on.event(*group_version_plural)(idle)


async def reconcile(key: Key, indices: dict[str, Any]) -> None:
    if key in asked:  # a reconciliation that has not begun will see this, too
        return
    asked.add(key)
    async with locks[key]:
        asked.discard(key)
        bodies = list(indices["workspaces"].get(key, ()))
        if bodies and not bodies[0].metadata.get("deletionTimestamp"):
            await converge(key, bodies[0], indices)


async def converge(key: Key, body: Any, indices: dict[str, Any]) -> None:
    estimate, objects = wanted_of(body)
    have = {item["name"] for kind in ("claims", *CHILDREN) for item in indices[kind].get(key, ())}
    if not list(indices["revisions"].get(key, ())):
        await create_revision(key, body)
    for create in objects:
        if create.kind.kind == "NodeClaim" and create.ref.name not in have:
            await make(create)
    seen = seen_of(key, body, estimate, indices)
    found = stages(seen)
    if all(stage.is_open for stage in found if stage.condition != "InferenceReady"):
        for create in objects:
            index = INDEXES.get(create.kind.kind)
            if index and create.ref.name not in {item["name"] for item in indices[index].get(key, ())}:
                await make(create)
    await report(key, body, seen, found)


INDEXES = {"Service": "services", "PodDisruptionBudget": "budgets", "StatefulSet": "statefulsets"}
CHILDREN = tuple(INDEXES.values())


def seen_of(key: Key, body: Any, estimate: Estimate, indices: dict[str, Any]) -> Seen:
    own = list(indices["claims"].get(key, ()))
    machines = [node for claim in own for node in indices["nodes"].get(claim["node"], ())]
    workload = next(iter(indices["statefulsets"].get(key, ())), None)
    instance_type = body["resource"]["instanceType"]
    own_pods = list(indices["pods"].get(key, ()))
    return Seen(key[1], instance_type, estimate.nodes, estimate.reasoning, own, machines, own_pods, workload)


def wanted_of(body: Any) -> tuple[Estimate, list[Create]]:
    uid = body["metadata"]["uid"]
    if uid not in wanted:
        now = datetime.now(UTC)  # noqa: TID251
        plain = {name: body[name] for name in ("apiVersion", "kind", "resource", "inference")}
        metadata = {name: body["metadata"][name] for name in ("name", "namespace")}
        document = document_of("the Workspace", json.loads(json.dumps(plain | {"metadata": metadata})))
        found = preview(offline([document], now).view, document.ref, now, PlanSettings())
        creates = [step.action for step in found.steps if isinstance(step.action, Create)]
        preset, sku = (
            find_preset(body["inference"]["preset"]["name"]),
            find_sku("azure", plain["resource"]["instanceType"]),
        )
        assert preset is not None and sku is not None, "the benchmark's Workspaces are of the catalogue"
        wanted[uid] = estimate_nodes(preset, sku), [with_uid(create, uid) for create in creates]
    return wanted[uid]


def with_uid(create: Create, uid: str) -> Create:
    for owner in create.body["metadata"].get("ownerReferences") or ():
        owner["uid"] = uid
    return create


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


def digest_of(body: Any) -> str:
    spec = json.dumps({name: body[name] for name in ("resource", "inference")}, sort_keys=True)
    return hashlib.sha256(spec.encode()).hexdigest()


async def create_revision(key: Key, body: Any) -> None:
    digest = digest_of(body)
    metadata = {
        "name": f"{key[1]}-{digest[:5]}",
        "labels": {REVISION_LABEL: key[1]},
        "annotations": {HASH: digest},
        "ownerReferences": [kopf.build_owner_reference(body)],
    }
    data = {name: body[name] for name in ("resource", "inference")}
    try:
        await client.AppsV1Api(api).create_namespaced_controller_revision(
            key[0], {"metadata": metadata, "revision": 1, "data": data}
        )
    except ApiException as error:
        if error.status != 409:
            raise


async def report(key: Key, body: Any, seen: Seen, found: list[Stage]) -> None:
    before = body.get("status") or {}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: TID251
    context = wanted_of(body)[0].context_tokens
    status = status_of(seen, found, before, body["metadata"]["generation"], now) | {"contextTokens": context}
    if {name: before.get(name) for name in status} != status:
        namespace, name = key
        await custom().patch_namespaced_custom_object_status(
            GROUP, VERSION, namespace, PLURAL, name, {"status": status}, _content_type="application/merge-patch+json"
        )
        tell(body, next((stage for stage in found if not stage.is_open), None))


def tell(body: Any, closed: Stage | None) -> None:
    """An Event of a cause that is new, unless there have been too many just now."""
    global next_event_s
    uid, cause = body["metadata"]["uid"], (closed.name, closed.reason) if closed else ("", "WorkspaceSucceeded")
    if told.get(uid) == cause or time.monotonic() < next_event_s:
        return
    told[uid], next_event_s = cause, time.monotonic() + 1 / EVENTS_PER_S
    message = f"{closed.message} ({closed.culprit})" if closed else "the model server answers"
    kopf.event(body, type="Normal", reason=cause[1], message=message)

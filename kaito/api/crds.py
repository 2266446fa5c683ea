"""The CustomResourceDefinitions, generated from the models: structural schemas, printer columns, subresources."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from pydantic import BaseModel

from kaito.api.inferenceset import INFERENCE_SET, InferenceSet, InferenceSetStatus
from kaito.api.meta import Json
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.nodepool import NODE_POOL
from kaito.api.ragengine import RAGENGINE, RAGEngineSpec, RAGEngineStatus
from kaito.api.workspace import WORKSPACE, Workspace, WorkspaceStatus

# What pydantic says and a structural schema must not, or need not, repeat.
DROPPED = ("title", "additionalProperties_", "$defs")
CONDITION_COLUMNS = ("ResourceReady", "InferenceReady", "JobStarted", "WorkspaceSucceeded")
V1ALPHA1_INSTANCE_TYPE = "Standard_NC24ads_A100_v4"


def structural_schema(model: type[BaseModel]) -> Json:
    """The model's JSON schema as Kubernetes takes it: references inlined, `null` alternatives dropped."""
    schema = model.model_json_schema(by_alias=True)
    cleaned: Json = _clean(schema, schema.get("$defs", {}))
    return cleaned


def _clean(node: Any, definitions: Json) -> Any:
    if isinstance(node, list):
        return [_clean(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[-1]]
        return _clean(target | {key: value for key, value in node.items() if key != "$ref"}, definitions)
    if "anyOf" in node:
        (kept,) = [item for item in node["anyOf"] if item.get("type") != "null"]
        return _clean(kept | {key: value for key, value in node.items() if key != "anyOf"}, definitions)
    result = {}
    for key, value in node.items():
        if key == "properties":
            result[key] = {name: _clean(child, definitions) for name, child in value.items()}
        elif key not in DROPPED and not _is_empty_default(key, value):
            result[key] = _clean(value, definitions)
    if node.get("x-kubernetes-preserve-unknown-fields"):
        result.pop("additionalProperties", None)  # a structural schema has one or the other
    return result


def _is_empty_default(key: str, value: Any) -> bool:
    """Defaults that say nothing would be written into every object."""
    return key == "default" and (value is None or value in ("", [], {}, ()) or value == 0)


def _version(name: str, schema: Json, columns: list[Json], *, is_storage: bool) -> Json:
    return {
        "name": name,
        "served": True,
        "storage": is_storage,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
    }


def _column(name: str, path: str, type_: str = "string") -> Json:
    return {"name": name, "type": type_, "jsonPath": path}


def _condition_column(type_: str) -> Json:
    return _column(type_, f'.status.conditions[?(@.type=="{type_}")].status')


def workspace_schema() -> Json:
    """openAPIV3Schema of Workspace v1beta1."""
    schema = structural_schema(Workspace)
    properties = schema["properties"]
    status = structural_schema(WorkspaceStatus)
    status["description"] = "Written by the operator alone."
    return {
        "type": "object",
        "description": "A model to serve or to fine-tune, and the machines for it.",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            **{name: properties[name] for name in ("resource", "inference", "tuning")},
            "status": status,
        },
    }


def workspace_schema_v1alpha1() -> Json:
    """openAPIV3Schema of Workspace v1alpha1: as v1beta1, without what came later."""
    schema = deepcopy(workspace_schema())
    resource = schema["properties"]["resource"]["properties"]
    resource["instanceType"]["default"] = V1ALPHA1_INSTANCE_TYPE
    del resource["partition"]
    for section in ("inference", "tuning"):
        options = schema["properties"][section]["properties"]["preset"]["properties"]["presetOptions"]
        del options["properties"]["modelAccessSecret"]
    status = schema["properties"]["status"]["properties"]
    schema["properties"]["status"]["properties"] = {name: status[name] for name in ("workerNodes", "conditions")}
    return schema


def workspace_crd() -> Json:
    """CustomResourceDefinition of Workspace: v1beta1 stored, v1alpha1 served."""
    conditions = [_condition_column(type_) for type_ in CONDITION_COLUMNS]
    instance, age = _column("Instance", ".resource.instanceType"), _column("Age", ".metadata.creationTimestamp", "date")
    later = [_column("TargetNodeCount", ".status.targetNodeCount", "integer"), _column("State", ".status.state")]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{WORKSPACE.plural}.{WORKSPACE.group}"},
        "spec": {
            "group": WORKSPACE.group,
            "scope": "Namespaced",
            "names": {
                "kind": WORKSPACE.kind,
                "listKind": f"{WORKSPACE.kind}List",
                "plural": WORKSPACE.plural,
                "singular": "workspace",
                "shortNames": ["wk", "wks"],
                "categories": ["workspace"],
            },
            "versions": [
                _version("v1alpha1", workspace_schema_v1alpha1(), [instance, *conditions, age], is_storage=False),
                _version("v1beta1", workspace_schema(), [instance, *conditions, *later, age], is_storage=True),
            ],
        },
    }


def inference_set_crd() -> Json:
    """CustomResourceDefinition of InferenceSet: v1beta1 stored, v1alpha1 served; both can be scaled."""
    schema = structural_schema(InferenceSet)
    status = structural_schema(InferenceSetStatus)
    status["description"] = "Written by the operator alone."
    body: Json = {
        "type": "object",
        "description": "Several Workspaces alike.",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": schema["properties"]["spec"],
            "status": status,
        },
    }
    columns = [
        _column("Replicas", ".spec.replicas", "integer"),
        _column("ReadyReplicas", ".status.readyReplicas", "integer"),
        _column("Age", ".metadata.creationTimestamp", "date"),
    ]
    older = deepcopy(body)
    del older["properties"]["spec"]["properties"]["template"]["properties"]["resource"]["properties"]["partition"]
    versions = [
        _version("v1alpha1", older, columns, is_storage=False),
        _version("v1beta1", body, columns, is_storage=True),
    ]
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{INFERENCE_SET.plural}.{INFERENCE_SET.group}"},
        "spec": {
            "group": INFERENCE_SET.group,
            "scope": "Namespaced",
            "names": {
                "kind": INFERENCE_SET.kind,
                "listKind": f"{INFERENCE_SET.kind}List",
                "plural": INFERENCE_SET.plural,
                "singular": "inferenceset",
                "shortNames": ["is", "isets"],
                "categories": ["inferenceset"],
            },
            "versions": [each | {"subresources": {"status": {}, "scale": scale}} for each in versions],
        },
    }


def ragengine_schema() -> Json:
    """openAPIV3Schema of RAGEngine v1beta1."""
    spec, status = structural_schema(RAGEngineSpec), structural_schema(RAGEngineStatus)
    return {
        "type": "object",
        "description": "A retrieval service over your documents, and the machine for it.",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec | {"description": "What is wanted."},
            "status": status | {"description": "Written by the operator alone."},
        },
    }


def ragengine_schema_v1alpha1() -> Json:
    """openAPIV3Schema of RAGEngine v1alpha1: as v1beta1, without what came later, and with two fields that went.

    Nothing that v1beta1 stores is left out of `status`: an update through this version must not prune it.
    """
    schema = deepcopy(ragengine_schema())
    spec = schema["properties"]["spec"]["properties"]
    spec["compute"]["properties"]["instanceType"]["default"] = V1ALPHA1_INSTANCE_TYPE
    for name in ("queryServiceName", "indexServiceName"):
        spec[name] = {"type": "string", "description": "Deprecated and ignored."}
    return schema


def ragengine_crd() -> Json:
    """CustomResourceDefinition of RAGEngine: v1beta1 stored, v1alpha1 served and deprecated."""
    columns = [
        _column("Instance", ".spec.compute.instanceType"),
        _condition_column("ResourceReady"),
        _condition_column("ServiceReady"),
        _column("Age", ".metadata.creationTimestamp", "date"),
    ]
    old = _version("v1alpha1", ragengine_schema_v1alpha1(), columns, is_storage=False)
    warning = "kaito.sh/v1alpha1 RAGEngine is deprecated; use kaito.sh/v1beta1"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{RAGENGINE.plural}.{RAGENGINE.group}"},
        "spec": {
            "group": RAGENGINE.group,
            "scope": "Namespaced",
            "names": {
                "kind": RAGENGINE.kind,
                "listKind": f"{RAGENGINE.kind}List",
                "plural": RAGENGINE.plural,
                "singular": "ragengine",
                "shortNames": ["rag"],
                "categories": ["ragengine"],
            },
            "versions": [
                old | {"deprecated": True, "deprecationWarning": warning},
                _version("v1beta1", ragengine_schema(), columns, is_storage=True),
            ],
        },
    }


def node_claim_crd() -> Json:
    """A NodeClaim CRD of our own, for clusters without Karpenter: schemaless, with the columns people look for."""
    free: Json = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    columns = [
        _column("Type", '.spec.requirements[?(@.key=="node.kubernetes.io/instance-type")].values[0]'),
        _column("Node", ".status.nodeName"),
        _column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        _column("Age", ".metadata.creationTimestamp", "date"),
    ]
    schema = {"type": "object", "properties": {"spec": dict(free), "status": dict(free)}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{NODE_CLAIM.plural}.{NODE_CLAIM.group}"},
        "spec": {
            "group": NODE_CLAIM.group,
            "scope": "Cluster",
            "names": {
                "kind": NODE_CLAIM.kind,
                "listKind": f"{NODE_CLAIM.kind}List",
                "plural": NODE_CLAIM.plural,
                "singular": "nodeclaim",
                "categories": ["karpenter"],
            },
            "versions": [_version(NODE_CLAIM.version, schema, columns, is_storage=True)],
        },
    }


def node_pool_crd() -> Json:
    """A NodePool CRD of our own, for a local cluster that plays Karpenter: schemaless."""
    free: Json = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    columns = [
        _column("Replicas", ".spec.replicas", "integer"),
        _column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        _column("Age", ".metadata.creationTimestamp", "date"),
    ]
    schema = {"type": "object", "properties": {"spec": dict(free), "status": dict(free)}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{NODE_POOL.plural}.{NODE_POOL.group}"},
        "spec": {
            "group": NODE_POOL.group,
            "scope": "Cluster",
            "names": {
                "kind": NODE_POOL.kind,
                "listKind": f"{NODE_POOL.kind}List",
                "plural": NODE_POOL.plural,
                "singular": "nodepool",
                "categories": ["karpenter"],
            },
            "versions": [_version(NODE_POOL.version, schema, columns, is_storage=True)],
        },
    }


def crds() -> dict[str, Json]:
    """Every CustomResourceDefinition of ours by its file name in manifests/crds/."""
    return {
        "kaito.sh_inferencesets.yaml": inference_set_crd(),
        "kaito.sh_ragengines.yaml": ragengine_crd(),
        "kaito.sh_workspaces.yaml": workspace_crd(),
    }

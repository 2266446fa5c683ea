"""The CustomResourceDefinitions, generated from the models: structural schemas, printer columns, subresources."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from pydantic import BaseModel

from kaito.api.inferenceset import INFERENCE_SET, InferenceSet, InferenceSetStatus
from kaito.api.meta import Json, ResourceKind
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


def _crd(
    kind: ResourceKind,
    versions: list[Json],
    *,
    category: str,
    short_names: tuple[str, ...] = (),
) -> Json:
    """The CustomResourceDefinition around the versions."""
    names: Json = {
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
        "plural": kind.plural,
        "singular": kind.kind.lower(),
    }
    if short_names:
        names["shortNames"] = list(short_names)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": names | {"categories": [category]},
            "versions": versions,
        },
    }


def _object(description: str, properties: Json) -> Json:
    """The schema of a whole object of ours."""
    own: Json = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
    return {"type": "object", "description": description, "properties": own | properties}


def _status(model: type[BaseModel]) -> Json:
    return structural_schema(model) | {"description": "Written by the operator alone."}


def _column(name: str, path: str, type_: str = "string") -> Json:
    return {"name": name, "type": type_, "jsonPath": path}


def _age() -> Json:
    return _column("Age", ".metadata.creationTimestamp", "date")


def _condition_column(type_: str) -> Json:
    return _column(type_, f'.status.conditions[?(@.type=="{type_}")].status')


def workspace_schema() -> Json:
    """openAPIV3Schema of Workspace v1beta1."""
    properties = structural_schema(Workspace)["properties"]
    sections = {name: properties[name] for name in ("resource", "inference", "tuning")}
    description = "A model to serve or to fine-tune, and the machines for it."
    return _object(description, sections | {"status": _status(WorkspaceStatus)})


def workspace_schema_v1alpha1() -> Json:
    """openAPIV3Schema of Workspace v1alpha1: as v1beta1, without what came later in what users write.

    Nothing that v1beta1 stores is left out of `status`: an update through this version must not prune it.
    """
    schema = deepcopy(workspace_schema())
    resource = schema["properties"]["resource"]["properties"]
    resource["instanceType"]["default"] = V1ALPHA1_INSTANCE_TYPE
    del resource["partition"]
    for section in ("inference", "tuning"):
        options = schema["properties"][section]["properties"]["preset"]["properties"]["presetOptions"]
        del options["properties"]["modelAccessSecret"]
    return schema


def workspace_crd() -> Json:
    """CustomResourceDefinition of Workspace: v1beta1 stored, v1alpha1 served."""
    conditions = [_condition_column(type_) for type_ in CONDITION_COLUMNS]
    instance, age = _column("Instance", ".resource.instanceType"), _age()
    later = [_column("TargetNodeCount", ".status.targetNodeCount", "integer"), _column("State", ".status.state")]
    versions = [
        _version("v1alpha1", workspace_schema_v1alpha1(), [instance, *conditions, age], is_storage=False),
        _version("v1beta1", workspace_schema(), [instance, *conditions, *later, age], is_storage=True),
    ]
    return _crd(WORKSPACE, versions, category="workspace", short_names=("wk", "wks"))


def inference_set_crd() -> Json:
    """CustomResourceDefinition of InferenceSet: v1beta1 stored, v1alpha1 served; both can be scaled."""
    spec = structural_schema(InferenceSet)["properties"]["spec"]
    body = _object("Several Workspaces alike.", {"spec": spec, "status": _status(InferenceSetStatus)})
    columns = [
        _column("Replicas", ".spec.replicas", "integer"),
        _column("ReadyReplicas", ".status.readyReplicas", "integer"),
        _age(),
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
    scalable = [each | {"subresources": {"status": {}, "scale": scale}} for each in versions]
    return _crd(INFERENCE_SET, scalable, category="inferenceset", short_names=("is", "isets"))


def ragengine_schema() -> Json:
    """openAPIV3Schema of RAGEngine v1beta1."""
    spec = structural_schema(RAGEngineSpec) | {"description": "What is wanted."}
    description = "A retrieval service over your documents, and the machine for it."
    return _object(description, {"spec": spec, "status": _status(RAGEngineStatus)})


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
        _age(),
    ]
    old = _version("v1alpha1", ragengine_schema_v1alpha1(), columns, is_storage=False)
    warning = "kaito.sh/v1alpha1 RAGEngine is deprecated; use kaito.sh/v1beta1"
    versions = [
        old | {"deprecated": True, "deprecationWarning": warning},
        _version("v1beta1", ragengine_schema(), columns, is_storage=True),
    ]
    return _crd(RAGENGINE, versions, category="ragengine", short_names=("rag",))


def node_claim_crd() -> Json:
    """A NodeClaim CRD of our own, for clusters without Karpenter: schemaless, with the columns people look for."""
    columns = [
        _column("Type", '.spec.requirements[?(@.key=="node.kubernetes.io/instance-type")].values[0]'),
        _column("Node", ".status.nodeName"),
        _column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        _age(),
    ]
    return _schemaless(NODE_CLAIM, columns)


def node_pool_crd() -> Json:
    """A NodePool CRD of our own, for a local cluster that plays Karpenter: schemaless."""
    columns = [
        _column("Replicas", ".spec.replicas", "integer"),
        _column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        _age(),
    ]
    return _schemaless(NODE_POOL, columns)


def _schemaless(kind: ResourceKind, columns: list[Json]) -> Json:
    free: Json = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema: Json = {"type": "object", "properties": {"spec": dict(free), "status": dict(free)}}
    return _crd(kind, [_version(kind.version, schema, columns, is_storage=True)], category="karpenter")


def crds() -> dict[str, Json]:
    """Every CustomResourceDefinition of ours by its file name in manifests/crds/."""
    return {
        "kaito.sh_inferencesets.yaml": inference_set_crd(),
        "kaito.sh_ragengines.yaml": ragengine_crd(),
        "kaito.sh_workspaces.yaml": workspace_crd(),
    }

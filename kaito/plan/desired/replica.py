"""The Workspace that is one replica of an InferenceSet."""

from __future__ import annotations

from collections.abc import Mapping

from kaito.api.inferenceset import INFERENCE_SET, InferenceSet
from kaito.api.meta import Json, ObjectRef
from kaito.api.names import CREATED_BY_INFERENCE_SET_LABEL, DISABLE_BENCHMARK_ANNOTATION, INHERITED_LABELS
from kaito.api.workspace import WORKSPACE
from kaito.plan.ownership import controller_reference


def replica(
    root: ObjectRef, root_uid: str, labels: Mapping[str, str], annotations: Mapping[str, str], iset: InferenceSet
) -> Json:
    """The body of a replica, without its name."""
    spec, template = iset.spec, iset.spec.template
    written = template.metadata
    inherited = {key: labels[key] for key in INHERITED_LABELS if key in labels}
    silent = {DISABLE_BENCHMARK_ANNOTATION: "true"} if annotations.get(DISABLE_BENCHMARK_ANNOTATION) == "true" else {}
    resource: Json = {"labelSelector": _json(spec.label_selector)}
    if template.resource.instance_type:
        resource["instanceType"] = template.resource.instance_type
    if template.resource.partition is not None:
        resource["partition"] = _json(template.resource.partition)
    return {
        "apiVersion": WORKSPACE.api_version,
        "kind": WORKSPACE.kind,
        "metadata": {
            "namespace": root.namespace,
            "labels": _texts(written.get("labels")) | inherited | {CREATED_BY_INFERENCE_SET_LABEL: root.name},
            "annotations": _texts(written.get("annotations")) | silent,
            "ownerReferences": [controller_reference(INFERENCE_SET, root.name, root_uid)],
        },
        "resource": resource,
        "inference": _json(template.inference),
    }


def _texts(found: object) -> dict[str, str]:
    """A map of texts, whatever was written: the template's metadata has no schema."""
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _json(part: object) -> Json:
    """As the user wrote it, without what our model fills in."""
    found: Json = part.model_dump(mode="json", by_alias=True, exclude_unset=True)  # type: ignore[attr-defined]
    return found

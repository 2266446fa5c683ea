"""CustomResourceDefinitions: what is checked when one is written, and the status that says it is served."""

from __future__ import annotations

from typing import Any

from kaito.api.meta import Json
from kaito.local.apiserver.collector import CRD_CLEANUP
from kaito.local.apiserver.errors import invalid_value, required


def crd_defaults(crd: Json) -> None:
    """Names, list kind, conversion and the finalizer that empties the kind first. In place."""
    spec = crd.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("names"), dict):
        return
    names = spec["names"]
    names.setdefault("singular", str(names.get("kind", "")).lower())
    names.setdefault("listKind", f"{names.get('kind', '')}List")
    spec.setdefault("conversion", {"strategy": "None"})
    finalizers = crd["metadata"].get("finalizers") or []
    if CRD_CLEANUP not in finalizers and not crd["metadata"].get("deletionTimestamp"):
        crd["metadata"]["finalizers"] = [*finalizers, CRD_CLEANUP]


def crd_causes(crd: Json) -> list[Json]:
    """Why the definition cannot be served."""
    spec = crd.get("spec")
    if not isinstance(spec, dict):
        return [required("spec")]
    causes = [required(f"spec.{field}") for field in ("group", "scope", "names", "versions") if not spec.get(field)]
    if causes:
        return causes
    names: Json = spec["names"]
    causes += [required(f"spec.names.{field}") for field in ("plural", "kind") if not names.get(field)]
    wanted = f"{names.get('plural')}.{spec['group']}"
    if crd["metadata"].get("name") != wanted:
        why = 'must be spec.names.plural+"."+spec.group'
        causes.append(invalid_value("metadata.name", crd["metadata"].get("name"), why))
    if sum(bool(version.get("storage")) for version in spec["versions"]) != 1:
        causes.append(invalid_value("spec.versions", "", "must have exactly one version marked as storage version"))
    for index, version in enumerate(spec["versions"]):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        field = f"spec.versions[{index}].schema.openAPIV3Schema"
        if not schema:
            causes.append(required(field))
        else:
            causes += _structural(schema, field)
    return causes


def _structural(schema: Any, path: str) -> list[Json]:
    if not isinstance(schema, dict):
        return []
    is_typed = schema.get("type") or schema.get("x-kubernetes-int-or-string")
    if not is_typed and not schema.get("x-kubernetes-preserve-unknown-fields"):
        message = "Required value: must not be empty for specified object fields"
        return [{"reason": "FieldValueRequired", "message": message, "field": f"{path}.type"}]
    causes: list[Json] = []
    for name, child in (schema.get("properties") or {}).items():
        causes += _structural(child, f"{path}.properties[{name}]")
    causes += _structural(schema.get("items"), f"{path}.items")
    return causes + _structural(schema.get("additionalProperties"), f"{path}.additionalProperties")


def establish(crd: Json, time: str) -> None:
    """The status of a definition that is served, in place."""
    status = crd.setdefault("status", {})
    names = crd["spec"]["names"]
    status["acceptedNames"] = dict(names)
    status["storedVersions"] = [item["name"] for item in crd["spec"]["versions"] if item.get("storage")]
    if not status.get("conditions"):
        status["conditions"] = [
            {"type": "NamesAccepted", "status": "True", "lastTransitionTime": time, "reason": "NoConflicts",
             "message": "no conflicts found"},
            {"type": "Established", "status": "True", "lastTransitionTime": time, "reason": "InitialNamesAccepted",
             "message": "the initial names have been accepted"},
        ]  # fmt: skip

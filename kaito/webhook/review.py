"""An AdmissionReview (admission.k8s.io/v1) in, its answer out. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from kaito.api.meta import Json
from kaito.api.workspace import PresetSpec, parse_as
from kaito.plan.catalog import find_preset, is_hub_name
from kaito.plan.validate import Evidence, denial, errors_of, validate, warnings_of
from kaito.settings import PlanSettings

API_VERSION = "admission.k8s.io/v1"
WARNING_CHARS_MAX = 256  # the API server cuts longer ones


class NoReview(ValueError):
    """The body is no AdmissionReview v1."""


def request_of(review: object) -> Json:
    """The request within. Raises NoReview that says what was expected."""
    if not isinstance(review, dict) or review.get("apiVersion") != API_VERSION:
        raise NoReview(f"expected an AdmissionReview of {API_VERSION}")
    request = review.get("request")
    if not isinstance(request, dict) or not isinstance(request.get("uid"), str):
        raise NoReview("request.uid: missing")
    return request


def answer(request: Json, view: Evidence, settings: PlanSettings) -> Json:
    """The AdmissionReview with the response. Deletions and objects without a body are let through."""
    new, old = request.get("object"), request.get("oldObject")
    response: Json = {"uid": request["uid"], "allowed": True}
    if request.get("operation") in ("CREATE", "UPDATE") and isinstance(new, dict):
        found = validate(new, old if isinstance(old, dict) else None, view, settings)
        if wrong := errors_of(found):
            kind = request.get("kind") or {}
            name = str((new.get("metadata") or {}).get("name") or request.get("name") or "")
            status = denial(str(kind.get("kind", "")), str(kind.get("group", "")), name, wrong)
            response |= {"allowed": False, "status": status}
        if doubts := warnings_of(found):
            response["warnings"] = [f"{item} [{item.rule}]"[:WARNING_CHARS_MAX] for item in doubts]
    return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}


def config_maps_of(request: Json) -> tuple[tuple[str, str], ...]:
    """(namespace, name) of the ConfigMaps that the object names, so that they can be looked up beforehand."""
    names = [section.get("config") for section in _sections(request.get("object"))]
    return tuple((_namespace(request), name) for name in names if isinstance(name, str) and name)


def hub_models_of(request: Json) -> tuple[tuple[str, PresetSpec], ...]:
    """(namespace, preset) of the models outside the catalogue that the object names and did not name before."""
    before = {preset.name for preset in _presets(request.get("oldObject"))}
    return tuple(
        (_namespace(request), preset)
        for preset in _presets(request.get("object"))
        if is_hub_name(preset.name) and find_preset(preset.name) is None and preset.name not in before
    )


def _presets(body: object) -> Iterator[PresetSpec]:
    """Those that fit the schema; of the others, the rules speak."""
    for section in _sections(body):
        if isinstance(raw := section.get("preset"), dict):
            found = parse_as(PresetSpec, raw)
            if isinstance(found, PresetSpec):
                yield found


def _sections(body: object) -> Iterator[Json]:
    """What a Workspace, or the template of an InferenceSet, says of inference and tuning."""
    template = _part(_part(body, "spec"), "template")
    for section in (_part(body, "inference"), _part(body, "tuning"), _part(template, "inference")):
        if isinstance(section, dict):
            yield section


def _part(body: object, key: str) -> object:
    return body.get(key) if isinstance(body, dict) else None


def _namespace(request: Json) -> str:
    return str(_part(_part(request.get("object"), "metadata"), "namespace") or request.get("namespace") or "")

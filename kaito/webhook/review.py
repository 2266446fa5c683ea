"""An AdmissionReview (admission.k8s.io/v1) in, its answer out. Pure."""

from __future__ import annotations

from kaito.api.meta import Json
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
    new = request.get("object")
    if not isinstance(new, dict):
        return ()
    namespace = str((new.get("metadata") or {}).get("namespace") or request.get("namespace") or "")
    sections = (new.get("inference"), new.get("tuning"))
    names = [section.get("config") for section in sections if isinstance(section, dict)]
    return tuple((namespace, name) for name in names if isinstance(name, str) and name)

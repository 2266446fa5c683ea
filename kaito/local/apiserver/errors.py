"""StatusError: what the server answers instead of an object, in the words of the real one."""

from __future__ import annotations

from kaito.api.meta import Json


class StatusError(Exception):
    """Carries the metav1.Status that a client receives; `code` is the HTTP status."""

    def __init__(self, code: int, reason: str, message: str, *, details: Json | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message
        self.details = details or {}

    @property
    def status(self) -> Json:
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            status["details"] = self.details
        return status


def qualified(plural: str, group: str) -> str:
    """`statefulsets.apps`, or `pods` in the core group."""
    return f"{plural}.{group}" if group else plural


def _details(plural: str, group: str, name: str, **more: object) -> Json:
    found: Json = {"name": name, "kind": plural} | more
    return found | ({"group": group} if group else {})


def not_found(plural: str, group: str, name: str) -> StatusError:
    message = f'{qualified(plural, group)} "{name}" not found'
    return StatusError(404, "NotFound", message, details=_details(plural, group, name))


def no_such_resource() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource")


def already_exists(plural: str, group: str, name: str) -> StatusError:
    message = f'{qualified(plural, group)} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, details=_details(plural, group, name))


def conflict(plural: str, group: str, name: str, why: str) -> StatusError:
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}'
    return StatusError(409, "Conflict", message, details=_details(plural, group, name))


def stale(plural: str, group: str, name: str) -> StatusError:
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(plural, group, name, why)


def uid_mismatch(plural: str, group: str, name: str, wanted: str, found: str) -> StatusError:
    return conflict(
        plural, group, name, f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
    )


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def unsupported_media_type(media_type: str) -> StatusError:
    accepted = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
    return StatusError(415, "UnsupportedMediaType", f"{message} (got {media_type})")


def method_not_allowed(verb: str) -> StatusError:
    return StatusError(
        405, "MethodNotAllowed", f"the server does not allow this method on the requested resource: {verb}"
    )


def forbidden(plural: str, group: str, name: str, why: str) -> StatusError:
    message = f'{qualified(plural, group)} "{name}" is forbidden: {why}'
    return StatusError(403, "Forbidden", message, details=_details(plural, group, name))


def invalid(kind: str, group: str, name: str, causes: list[Json]) -> StatusError:
    """422 with one cause a field; `causes` hold reason, message, field."""
    lines = [f"{cause['field']}: {cause['message']}" for cause in causes]
    text = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    shown = f"{kind}.{group}" if group else kind
    details: Json = {"name": name, "kind": kind, "causes": causes}
    if group:
        details["group"] = group
    return StatusError(422, "Invalid", f'{shown} "{name}" is invalid: {text}', details=details)


def expired(message: str) -> StatusError:
    return StatusError(410, "Expired", message)


def internal(message: str) -> StatusError:
    return StatusError(500, "InternalError", message)


def denied(webhook: str, status: Json) -> StatusError:
    """What an admission webhook's refusal looks like to the one who applies; 403 where it does not say otherwise."""
    message = f'admission webhook "{webhook}" denied the request: {status.get("message", "")}'
    code, reason = status.get("code") or 403, status.get("reason") or "Forbidden"
    return StatusError(code, reason, message, details=status.get("details"))


def required(field: str) -> Json:
    return {"reason": "FieldValueRequired", "message": "Required value", "field": field}


def invalid_value(field: str, value: object, why: str) -> Json:
    return {"reason": "FieldValueInvalid", "message": f"Invalid value: {shown(value)}: {why}", "field": field}


def shown(value: object) -> str:
    """A value as Go prints it in field errors."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)

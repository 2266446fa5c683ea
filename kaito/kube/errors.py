"""What the API server can answer instead of what was asked. Raised in the adapters only; handled in the runner."""

from __future__ import annotations


class ApiError(Exception):
    """Base: `code` is the HTTP status (0: none was received), `reason` the Status reason, `message` its words."""

    code = 0

    def __init__(self, message: str, *, reason: str = "", code: int | None = None, retry_after_s: float | None = None):
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).__name__
        if code is not None:
            self.code = code
        self.retry_after_s = retry_after_s


class BadRequest(ApiError):
    """400: the request itself is malformed."""

    code = 400


class Unauthorized(ApiError):
    """401: the credentials were not accepted, after they were read again from disk."""

    code = 401


class Forbidden(ApiError):
    """403: RBAC or an admission plugin does not let us."""

    code = 403


class NotFound(ApiError):
    """404: no such object, or no such kind."""

    code = 404


class AlreadyExists(ApiError):
    """409 on create."""

    code = 409


class Conflict(ApiError):
    """409 on anything else: uid, resourceVersion or field ownership does not hold."""

    code = 409


class Gone(ApiError):
    """410: the resourceVersion or the continue token is too old; list again."""

    code = 410


class Invalid(ApiError):
    """422, and 400 or 500 for a body the server's schema refuses: sending the same again is pointless."""

    code = 422


class Throttled(ApiError):
    """429: `retry_after_s` holds the server's wish."""

    code = 429


class ServerError(ApiError):
    """5xx: try again later."""

    code = 500


class Unreachable(ApiError):
    """No answer: connection refused or reset, or the deadline passed. The request may have been carried out."""

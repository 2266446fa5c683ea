"""OpenAI's error envelope: what every path of ours answers when it cannot do what was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec


@dataclass(slots=True)
class ApiError(Exception):
    """An answer that is not what was asked for. `param` names the field; `headers` go with the answer."""

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message


def error_body(error: ApiError) -> bytes:
    envelope = {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code if error.code is not None else str(error.status),
        }
    }
    return msgspec.json.encode(envelope)


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """The request is wrong: 400."""
    return ApiError(400, message, param=param, code=code)


def unknown_model(name: str, served: Sequence[str]) -> ApiError:
    """404 that lists what is served."""
    known = ", ".join(f"`{model}`" for model in served) or "none"
    message = f"The model `{name}` does not exist. Served here: {known}."
    return ApiError(404, message, type="NotFoundError", param="model", code="model_not_found")


def overloaded(message: str, *, retry_after_s: int) -> ApiError:
    """429: no room now; the client may come back after so many seconds."""
    headers = {"Retry-After": str(max(1, retry_after_s))}
    return ApiError(429, message, type="requests", code="rate_limit_exceeded", headers=headers)


def unavailable(message: str, *, retry_after_s: int = 5) -> ApiError:
    """503: the server is starting, stopping or broken."""
    headers = {"Retry-After": str(retry_after_s)}
    return ApiError(503, message, type="server_error", code="unavailable", headers=headers)


def internal(message: str) -> ApiError:
    """500: our fault."""
    return ApiError(500, message, type="server_error", code="internal_error")

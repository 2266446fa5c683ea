"""Exceptions to answers: `{"detail": …}`, as upstream answers; validation errors as FastAPI lists them."""

from __future__ import annotations

from typing import Any

import msgspec
import structlog
from aiohttp import web
from pydantic import ValidationError

from kaito.logs import Event
from kaito.rag.changes import Overtaken, QuotaExceeded
from kaito.rag.embed import EmbeddingFailed
from kaito.rag.index import IndexClosed
from kaito.rag.ingest import CannotSplit
from kaito.rag.persist.disk import StorageFull
from kaito.rag.persist.folder import IndexDamaged, ReadOnly
from kaito.rag.persist.paths import PathRefused
from kaito.rag.registry import IndexExists, IndexUnusable, NoSuchIndex
from kaito.rag.vectors import VectorStoreUnavailable
from kaito.web.openai.errors import ApiError

STATUS: dict[type[Exception], int] = {
    NoSuchIndex: 404,
    FileNotFoundError: 404,
    PathRefused: 400,
    CannotSplit: 400,
    IndexExists: 409,
    IndexUnusable: 409,
    IndexClosed: 409,
    Overtaken: 409,
    IndexDamaged: 422,
    QuotaExceeded: 507,
    StorageFull: 507,
    ReadOnly: 503,
    EmbeddingFailed: 502,
    VectorStoreUnavailable: 503,
}


class Problem(Exception):
    """An answer with this status and detail."""

    def __init__(self, status: int, detail: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


def answer(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), status=status, headers={"Content-Type": "application/json", **(headers or {})}
    )


def problem_answer(error: Exception, *, request_id: str) -> web.Response:
    """What is none of ours to foresee is logged with its traceback and told as 500."""
    match error:
        case Problem():
            return answer({"detail": error.detail}, status=error.status, headers=error.headers)
        case ApiError():
            return answer({"detail": error.message}, status=error.status, headers=dict(error.headers))
        case web.HTTPException():
            headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            return answer({"detail": error.reason}, status=error.status, headers=headers)
        case ValidationError():
            return answer({"detail": validation_items(error, "body")}, status=422)
    for kind, status in STATUS.items():
        if isinstance(error, kind):
            return answer({"detail": str(error)}, status=status)
    structlog.get_logger().error(Event.REQUEST_FAILED, request_id=request_id, exc_info=error)
    return answer({"detail": f"Internal error; the server's log has more under request {request_id}."}, status=500)


def validation_items(error: ValidationError, place: str) -> list[dict[str, Any]]:
    """FastAPI's list: type, loc, msg, input (short)."""
    return [
        {"type": one["type"], "loc": [place, *one["loc"]], "msg": one["msg"], "input": _short(one.get("input"))}
        for one in error.errors(include_url=False, include_context=False)
    ]


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()[:200]
    return value if isinstance(value, int | float | bool) and abs(value) < 1e15 else None

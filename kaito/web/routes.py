"""A table of fixed paths on aiohttp's low-level server: no router, no middleware chain, one dictionary look-up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from aiohttp import web

from kaito.web.openai.errors import ApiError

Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Routes:
    """Handlers by path, then by method. HEAD is served where GET is."""

    table: dict[str, dict[str, Handler]] = field(default_factory=dict)

    def add(self, method: str, path: str, handler: Handler) -> None:
        methods = self.table.setdefault(path, {})
        assert method not in methods, f"{method} {path} twice"
        methods[method] = handler
        if method == "GET":
            methods["HEAD"] = handler

    def find(self, method: str, path: str) -> Handler:
        """Raises ApiError 404 or 405."""
        methods = self.table.get(path)
        if methods is None and len(path) > 1 and path.endswith("/"):
            methods = self.table.get(path.rstrip("/"))
        if methods is None:
            raise ApiError(404, f"There is nothing at {path[:200]}.", type="NotFoundError", code="not_found")
        handler = methods.get(method)
        if handler is None:
            allowed = ", ".join(sorted(methods))
            message = f"{path} takes {allowed}, not {method[:20]}."
            raise ApiError(405, message, code="method_not_allowed", headers={"Allow": allowed})
        return handler

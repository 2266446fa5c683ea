"""The HTTP face: what every request goes through, and the table of paths."""

from __future__ import annotations

from time import monotonic

from aiohttp import web

from kaito.inference.progress import StartProgress
from kaito.inference.request_keys import REQUEST_ID
from kaito.inference.routes.generation import add_generation_routes
from kaito.inference.routes.models import add_model_routes
from kaito.inference.routes.status import add_status_routes
from kaito.inference.serving_state import ServingState
from kaito.inference.settings import ServerSettings
from kaito.web.answers import Answer, answer_for
from kaito.web.auth import ApiKeys
from kaito.web.openai.errors import unavailable
from kaito.web.request_ids import request_id_of
from kaito.web.routes import Routes
from kaito.web.tracing import NO_TRACING, Tracing

# Kubernetes and Prometheus ask these without a key; they tell nothing about anybody's requests.
OPEN_PATHS = frozenset({"/health", "/ready", "/metrics", "/version"})


class App:
    """A handler for aiohttp's low-level server."""

    def __init__(self, settings: ServerSettings, progress: StartProgress, tracing: Tracing = NO_TRACING) -> None:
        """Raises KeysUnreadable."""
        self.state = ServingState(settings, progress)
        self.routes = Routes()
        self._keys = ApiKeys(settings.api_keys, settings.api_key_file, monotonic)
        self._tracing = tracing
        add_generation_routes(self.routes, self.state)
        add_model_routes(self.routes, self.state)
        add_status_routes(self.routes, self.state)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        request_id = request[REQUEST_ID] = request_id_of(request.headers)
        path = request.raw_path.partition("?")[0]  # the table has no path that would be quoted
        try:
            if path not in OPEN_PATHS:
                self._check(request)
            handler = self.routes.find(request.method, path)
            if self._tracing is NO_TRACING or path in OPEN_PATHS:
                answer = await handler(request)
            else:
                with self._tracing.span(f"{request.method} {path}", request.headers, request_id) as span:
                    answer = await handler(request)
                    span.ended(answer.status)
        except Exception as error:
            answer = answer_for(error, request_id=request_id)
        if isinstance(answer, Answer):
            answer.request_id = request_id
        return answer

    def _check(self, request: web.BaseRequest) -> None:
        """Raises ApiError: 503 above the bound of connections, 401 without a key."""
        if self.state.connections() > self.state.limits.connections_max:
            raise unavailable(f"More than {self.state.limits.connections_max} connections are open.")
        self._keys.check(request.headers)

"""The HTTP face: routes, and what every request goes through."""

from __future__ import annotations

import asyncio
from time import monotonic

import msgspec
import structlog
from aiohttp import web

from kaito import __version__
from kaito.inference.admission import Admission
from kaito.inference.engine import Call, Engine, Operation
from kaito.inference.progress import StartProgress
from kaito.inference.settings import ServerSettings
from kaito.logs import Event
from kaito.web import sse
from kaito.web.answers import answer_for, json_answer
from kaito.web.bodies import read_body
from kaito.web.event_stream import EventStream, ReaderTooSlow
from kaito.web.in_flight import InFlight
from kaito.web.openai.errors import ApiError, error_body, unavailable
from kaito.web.openai.models import ModelList
from kaito.web.probes import EXPOSITION_TYPE
from kaito.web.request_ids import HEADER, request_id_of
from kaito.web.routes import Handler, Routes

REQUEST_ID = web.RequestKey("request_id", str)
PATHS = {
    "/v1/chat/completions": Operation.CHAT,
    "/v1/completions": Operation.COMPLETIONS,
}


class App:
    """Routes over an engine that may still be loading."""

    def __init__(self, settings: ServerSettings, progress: StartProgress) -> None:
        self.settings = settings
        self.limits = settings.limits
        self.progress = progress
        self.engine: Engine | None = None
        self.admission: Admission | None = None
        self.in_flight = InFlight()
        self.routes = Routes()
        for path, operation in PATHS.items():
            self.routes.add("POST", path, self._operation(operation))
        self.routes.add("GET", "/v1/models", self._models)
        self.routes.add("GET", "/health", self._health)
        self.routes.add("GET", "/ready", self._ready)
        self.routes.add("GET", "/metrics", self._metrics)
        self.routes.add("GET", "/version", self._version)

    def serve(self, engine: Engine) -> None:
        """The engine is loaded: requests may come."""
        queue_max = engine.slots if self.limits.queue_max < 0 else self.limits.queue_max
        self.admission = Admission(engine.slots, queue_max, monotonic)
        self.engine = engine

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        request_id = request[REQUEST_ID] = request_id_of(request.headers)
        try:
            handler = self.routes.find(request.method, request.path)
            answer = await handler(request)
        except Exception as error:
            answer = answer_for(error, request_id=request_id)
        if not answer.prepared:
            answer.headers[HEADER] = request_id
        return answer

    def _operation(self, operation: Operation) -> Handler:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            engine, admission = self._open()
            limits = self.limits
            body = await read_body(request, bytes_max=limits.body_bytes_max, timeout_s=limits.read_timeout_s)
            with self.in_flight.one():
                if (turn := admission.try_enter()) is not None:
                    await self._wait(admission, turn)
                with admission.timed():
                    return await self._run(engine, operation, body, request)

        return answer

    async def _wait(self, admission: Admission, turn: asyncio.Future[None]) -> None:
        try:
            await turn
        except asyncio.CancelledError:
            admission.give_up(turn)
            raise

    async def _run(
        self, engine: Engine, operation: Operation, body: bytes, request: web.BaseRequest
    ) -> web.StreamResponse:
        call = Call(request[REQUEST_ID])
        timeout_s = self.limits.request_timeout_s
        stream: EventStream | None = None
        try:
            async with asyncio.timeout(timeout_s):
                reply = await engine.run(operation, body, call)
                if isinstance(reply, bytes):
                    return json_answer(reply)
                stream = EventStream(
                    request,
                    headers={HEADER: call.request_id},
                    buffer_bytes_max=self.limits.stream_buffer_bytes_max,
                )
                await stream.open()
                await reply.pump(stream.write)
                await stream.close()
                return stream.response
        except TimeoutError:
            error = ApiError(504, f"The answer took longer than {timeout_s:g} s.", type="server_error", code="timeout")
            if stream is None:
                raise error from None
            stream.write(sse.frame(error_body(error)) + sse.DONE)
            await stream.close()
            return stream.response
        except ReaderTooSlow as error:
            structlog.get_logger().warning(Event.READER_DROPPED, request_id=call.request_id, reason=str(error))
            raise

    def _open(self) -> tuple[Engine, Admission]:
        """Raises ApiError (503) while there is nobody to answer."""
        if self.in_flight.is_draining:
            raise unavailable("The server is shutting down.")
        if self.engine is None or self.admission is None:
            raise unavailable(f"The model is not loaded yet: {self.progress.text()}.")
        if fault := self.engine.fault:
            raise unavailable(f"The engine is broken: {fault}")
        return self.engine, self.admission

    async def _models(self, _: web.BaseRequest) -> web.Response:
        engine, _admission = self._open()
        return json_answer(msgspec.json.encode(ModelList(data=engine.models())))

    async def _health(self, _: web.BaseRequest) -> web.Response:
        if self.engine is not None and (fault := self.engine.fault):
            raise unavailable(f"The engine is broken: {fault}")
        return json_answer(b'{"status":"Healthy"}')

    async def _ready(self, _: web.BaseRequest) -> web.Response:
        self._open()
        return json_answer(b'{"status":"Ready"}')

    async def _version(self, _: web.BaseRequest) -> web.Response:
        return json_answer(msgspec.json.encode({"version": __version__}))

    async def _metrics(self, _: web.BaseRequest) -> web.Response:
        engine = b"" if self.engine is None else self.engine.exposition()
        return web.Response(body=engine + self.progress.exposition(), headers={"Content-Type": EXPOSITION_TYPE})

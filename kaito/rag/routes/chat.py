"""/v1/chat/completions, /v1/models."""

from __future__ import annotations

import structlog
from aiohttp import web

from kaito.logs import Event
from kaito.rag.answer.chat import Chat, Prepared
from kaito.rag.answer.relay import GuardedStream, error_event, relay
from kaito.rag.answer.request import read_chat
from kaito.rag.guardrails.policy import Policy
from kaito.rag.problems import Problem, answer
from kaito.rag.service import Service
from kaito.web import sse
from kaito.web.bodies import read_body
from kaito.web.event_stream import EventStream
from kaito.web.request_ids import request_id_of

NO_MODEL_SERVER = "InferenceService not configured: set LLM_INFERENCE_URL to a model server's chat completions."


def add_routes(router: web.UrlDispatcher, service: Service, chat: Chat | None) -> None:
    limits, metrics = service.settings.limits, service.metrics

    async def complete(request: web.Request) -> web.StreamResponse:
        with metrics.operation("chat"):
            if chat is None:
                raise Problem(503, NO_MODEL_SERVER)
            data = await read_body(request, bytes_max=limits.body_bytes_max, timeout_s=limits.read_timeout_s)
            asked = read_chat(data)
            policy = None if chat.guard is None else chat.guard.policy()
            if asked.is_stream and policy is not None and chat.guard is not None:
                chat.guard.check_stream(policy)
                if asked.body.get("tools") or asked.body.get("functions"):
                    raise Problem(400, "stream=true with tools is not supported while output guardrails are on.")
            prepared = await chat.prepare(asked)
            if asked.is_stream:
                return await _stream(request, chat, prepared, policy)
            return answer(await chat.answer(prepared, policy))

    async def _stream(
        request: web.Request, chat: Chat, prepared: Prepared, policy: Policy | None
    ) -> web.StreamResponse:
        guarded = None if policy is None or chat.guard is None else GuardedStream(chat.guard, policy)
        async with chat.stream(prepared) as response:
            request_id = request_id_of(request.headers)
            stream = EventStream(request, request_id=request_id, buffer_bytes_max=limits.stream_buffer_bytes_max)
            try:
                async for piece in relay(response, prepared.sources, guarded):
                    stream.write(piece)
            except ConnectionResetError:
                raise
            except Exception as error:
                # The head has gone out: the only way left to say it.
                stream.write(error_event(f"{type(error).__name__}: the answer broke off") + sse.DONE)
                structlog.get_logger().error(Event.REQUEST_FAILED, request_id=request_id, exc_info=error)
            stream.close()
            return stream

    async def models(_: web.Request) -> web.Response:
        if chat is None:
            raise Problem(503, NO_MODEL_SERVER)
        return answer({"object": "list", "data": await chat.server.models()})

    router.add_post("/v1/chat/completions", complete)
    router.add_get("/v1/models", models)

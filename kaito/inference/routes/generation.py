"""The engine's operations over HTTP: body in, admission, answer or events out."""

from __future__ import annotations

import asyncio
from time import monotonic

import structlog
from aiohttp import web

from kaito.inference.admission import Admission
from kaito.inference.engine import Call, Engine, Operation, Stream
from kaito.inference.request_keys import REQUEST_ID
from kaito.inference.serving_state import ServingState
from kaito.logs import Event
from kaito.web import sse
from kaito.web.answers import json_answer
from kaito.web.bodies import read_body
from kaito.web.deadline import Deadline
from kaito.web.event_stream import EventStream, ReaderTooSlow
from kaito.web.openai.errors import ApiError, error_body
from kaito.web.request_ids import HEADER
from kaito.web.routes import Handler, Routes

PATHS = {
    "/v1/chat/completions": Operation.CHAT,
    "/v1/completions": Operation.COMPLETIONS,
    "/v1/embeddings": Operation.EMBEDDINGS,
    "/v1/responses": Operation.RESPONSES,
    "/tokenize": Operation.TOKENIZE,
    "/detokenize": Operation.DETOKENIZE,
}
# Answered from the tokenizer alone: they take no slot.
WITHOUT_SLOT = frozenset({Operation.TOKENIZE, Operation.DETOKENIZE})


def add_generation_routes(routes: Routes, state: ServingState) -> None:
    for path, operation in PATHS.items():
        routes.add("POST", path, _handler(state, operation))


def _handler(state: ServingState, operation: Operation) -> Handler:
    limits = state.limits
    takes_slot = operation not in WITHOUT_SLOT

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        engine, admission = state.serving()
        if operation not in engine.operations:
            raise _not_done(operation, engine)
        body = await read_body(request, bytes_max=limits.body_bytes_max, timeout_s=limits.read_timeout_s)
        if state.settings.logs_content:
            text = body.decode(errors="replace")
            structlog.get_logger().info(Event.REQUEST_RECEIVED, request_id=request[REQUEST_ID], body=text)
        state.in_flight.enter()
        try:
            if not takes_slot:
                return await _answer(state, engine, operation, body, request)
            if (turn := admission.try_enter()) is not None:
                await _wait(admission, turn)
            begun = monotonic()
            try:
                return await _answer(state, engine, operation, body, request)
            finally:  # the slot was held to the last byte
                admission.leave(monotonic() - begun)
        finally:
            state.in_flight.leave()

    return answer


def _not_done(operation: Operation, engine: Engine) -> ApiError:
    known = ", ".join(sorted(engine.operations))
    remedy = " Started with --runner=pooling, it would." if operation is Operation.EMBEDDINGS else ""
    text = f"This model does not do {operation}; it does {known}.{remedy}"
    return ApiError(404, text, type="NotFoundError", code="operation_not_supported")


async def _wait(admission: Admission, turn: asyncio.Future[None]) -> None:
    try:
        await turn
    except asyncio.CancelledError:
        admission.give_up(turn)
        raise


async def _answer(
    state: ServingState, engine: Engine, operation: Operation, body: bytes, request: web.BaseRequest
) -> web.StreamResponse:
    stream: EventStream | None = None
    deadline = Deadline(state.limits.request_timeout_s)
    try:
        reply = await engine.run(operation, body, Call(request[REQUEST_ID]))
        if isinstance(reply, bytes):
            return json_answer(reply)
        stream = await _open_stream(state, request)
        await _pump(reply, stream, request)
    except asyncio.CancelledError:
        error = deadline.error()  # raises where it was not the deadline
        if stream is None:
            raise error from None
        stream.write(sse.frame(error_body(error)) + sse.DONE)
    finally:
        deadline.end()
    await stream.close()
    return stream.response


async def _open_stream(state: ServingState, request: web.BaseRequest) -> EventStream:
    stream = EventStream(
        request,
        headers={HEADER: request[REQUEST_ID]},
        buffer_bytes_max=state.limits.stream_buffer_bytes_max,
    )
    await stream.open()
    return stream


async def _pump(reply: Stream, stream: EventStream, request: web.BaseRequest) -> None:
    try:
        await reply.pump(stream.write)
    except ReaderTooSlow as error:
        structlog.get_logger().warning(Event.READER_DROPPED, request_id=request[REQUEST_ID], reason=str(error))
        raise

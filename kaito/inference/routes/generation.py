"""The engine's operations over HTTP: body in, admission, answer or events out."""

from __future__ import annotations

import asyncio
from time import monotonic

import structlog
from aiohttp import web

from kaito.inference.admission import Admission
from kaito.inference.engine import Call, Engine, Operation
from kaito.inference.request_keys import REQUEST_ID
from kaito.inference.serving_state import ServingState
from kaito.logs import Event
from kaito.web import sse
from kaito.web.answers import Answer
from kaito.web.bodies import read_body
from kaito.web.deadline import Deadline, Deadlines
from kaito.web.event_stream import EventStream, ReaderTooSlow
from kaito.web.openai.errors import ApiError, error_body, internal
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
    deadlines = Deadlines(limits.request_timeout_s)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        engine, admission = state.serving()
        if operation not in engine.operations:
            raise _not_done(operation, engine)
        body = await read_body(request, bytes_max=limits.body_bytes_max, timeout_s=limits.read_timeout_s)
        if state.settings.logs_content:
            text = body.decode(errors="replace")
            structlog.get_logger().info(Event.REQUEST_RECEIVED, request_id=request[REQUEST_ID], body=text)
        state.in_flight.enter()
        begun = 0.0
        try:
            if takes_slot:
                if (turn := admission.try_enter()) is not None:
                    await _wait(admission, turn)
                begun = monotonic()
            return await _answer(state, engine, operation, body, request, deadlines.begin())
        finally:  # the slot was held to the last byte
            if begun:
                admission.leave(monotonic() - begun)
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
    state: ServingState,
    engine: Engine,
    operation: Operation,
    body: bytes,
    request: web.BaseRequest,
    deadline: Deadline,
) -> web.StreamResponse:
    request_id = request[REQUEST_ID]
    stream: EventStream | None = None
    try:
        reply = await engine.run(operation, body, Call(request_id))
        if isinstance(reply, bytes):
            return Answer(reply)
        bytes_max = state.limits.stream_buffer_bytes_max
        stream = EventStream(request, request_id=request_id, buffer_bytes_max=bytes_max)
        await reply.pump(stream.write)
    except asyncio.CancelledError:
        error = deadline.error()  # raises where it was not the deadline
        if stream is None:
            raise error from None
        stream.write(sse.frame(error_body(error)) + sse.DONE)
    except ReaderTooSlow as error:
        structlog.get_logger().warning(Event.READER_DROPPED, request_id=request_id, reason=str(error))
        raise
    except ConnectionResetError:
        raise
    except Exception as error:
        if stream is None:
            raise
        # The head has gone out: the only way left to say it.
        structlog.get_logger().error(Event.REQUEST_FAILED, request_id=request_id, exc_info=error)
        stream.write(sse.frame(error_body(internal("Internal error: the answer broke off."))) + sse.DONE)
    finally:
        deadline.end()
    stream.close()
    return stream

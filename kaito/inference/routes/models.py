"""/v1/models, and adapters that come and go while the server runs."""

from __future__ import annotations

from typing import Annotated

import msgspec
import structlog
from aiohttp import web

from kaito.inference.serving_state import ServingState
from kaito.logs import Event
from kaito.web.answers import Answer, json_answer
from kaito.web.bodies import read_body
from kaito.web.openai.decode import decode
from kaito.web.openai.errors import ApiError
from kaito.web.openai.models import ModelList
from kaito.web.routes import Routes

BODY_BYTES_MAX = 64 << 10
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class LoadAdapter(msgspec.Struct, kw_only=True):
    """vLLM's body of POST /v1/load_lora_adapter."""

    lora_name: Name
    lora_path: Name


class UnloadAdapter(msgspec.Struct, kw_only=True):
    lora_name: Name


LOAD = msgspec.json.Decoder(LoadAdapter)
UNLOAD = msgspec.json.Decoder(UnloadAdapter)


def add_model_routes(routes: Routes, state: ServingState) -> None:
    async def models(_: web.BaseRequest) -> Answer:
        engine, _admission = state.serving()
        return json_answer(msgspec.json.encode(ModelList(data=engine.models())))

    async def load(request: web.BaseRequest) -> Answer:
        wanted = decode(await _body(state, request), LOAD)
        engine, _admission = state.serving()
        with state.in_flight.one():
            await engine.load_adapter(wanted.lora_name, wanted.lora_path)
        structlog.get_logger().info(Event.ADAPTER_LOADED, adapter=wanted.lora_name, path=wanted.lora_path)
        return json_answer(msgspec.json.encode(f"Success: LoRA adapter '{wanted.lora_name}' added successfully."))

    async def unload(request: web.BaseRequest) -> Answer:
        wanted = decode(await _body(state, request), UNLOAD)
        engine, _admission = state.serving()
        with state.in_flight.one():
            await engine.unload_adapter(wanted.lora_name)
        structlog.get_logger().info(Event.ADAPTER_UNLOADED, adapter=wanted.lora_name)
        return json_answer(msgspec.json.encode(f"Success: LoRA adapter '{wanted.lora_name}' removed successfully."))

    routes.add("GET", "/v1/models", models)
    routes.add("POST", "/v1/load_lora_adapter", load)
    routes.add("POST", "/v1/unload_lora_adapter", unload)


async def _body(state: ServingState, request: web.BaseRequest) -> bytes:
    if not state.settings.runtime_lora:
        raise ApiError(
            403,
            "Adapters cannot be changed at run time: start the server with --kaito-runtime-lora and --enable-lora.",
            type="permission_error",
            code="runtime_lora_off",
        )
    return await read_body(request, bytes_max=BODY_BYTES_MAX, timeout_s=state.limits.read_timeout_s)

"""Requests to models, off the event loop when they are large."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from kaito.rag.problems import Problem, validation_items
from kaito.rag.settings import Limits
from kaito.web.bodies import read_body

M = TypeVar("M", bound=BaseModel)
LARGE_BYTES = 32 << 10  # below, parsing takes less than handing it to a thread and back


async def body_of(request: web.Request, model: type[M], limits: Limits) -> M:
    """Raises ValidationError (422), ApiError (413, 408, 415)."""
    data = await read_body(request, bytes_max=limits.body_bytes_max, timeout_s=limits.read_timeout_s)
    if len(data) > LARGE_BYTES:
        return await asyncio.to_thread(model.model_validate_json, data)
    return model.model_validate_json(data)


def parameters_of(request: web.Request, model: type[M]) -> M:
    """The query string. Raises Problem (422)."""
    given: dict[str, Any] = {}
    for key, value in request.query.items():
        given.setdefault(key, value)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise Problem(422, validation_items(error, "query")) from None

"""/index, /indexes and the documents of an index."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from kaito.rag import wire
from kaito.rag.generation import Document
from kaito.rag.ingest import content_hash
from kaito.rag.problems import Problem, answer
from kaito.rag.routes.bodies import body_of, parameters_of
from kaito.rag.service import Service


def add_routes(router: web.UrlDispatcher, service: Service) -> None:
    limits, metrics, indexes = service.settings.limits, service.metrics, service.indexes

    async def index(request: web.Request) -> web.Response:
        with metrics.operation("index"):
            body = await body_of(request, wire.IndexRequest, limits)
            given = [(one.text, one.metadata or {}) for one in body.documents]
            with metrics.store("insert"):
                stored = await indexes.insert(body.index_name, given)
            return answer([_echo(one) for one in stored])

    async def names(_: web.Request) -> web.Response:
        with metrics.operation("indexes"):
            return answer(indexes.names())

    async def documents(request: web.Request) -> web.Response:
        with metrics.operation("documents"):
            reading = indexes.get(request.match_info["index_name"]).reading
            parameters = parameters_of(request, wire.ListParameters)
            fields = _filter(parameters.metadata_filter)

            def page() -> dict[str, Any]:
                found, total = reading.generation.page(parameters.offset, parameters.limit, fields)
                listed = [_listed(one, parameters.max_text_length) for one in found]
                return {"documents": listed, "count": len(listed), "total_items": total}

            return answer(await asyncio.to_thread(page))

    async def update(request: web.Request) -> web.Response:
        with metrics.operation("update"):
            target = indexes.get(request.match_info["index_name"])
            body = await body_of(request, wire.UpdateRequest, limits)
            outcome = await target.update([(one.doc_id, one.text, one.metadata or {}) for one in body.documents])
            updated, unchanged, absent = (_echoes(body.documents, positions) for positions in outcome)
            return answer(
                {"updated_documents": updated, "unchanged_documents": unchanged, "not_found_documents": absent}
            )

    async def delete(request: web.Request) -> web.Response:
        with metrics.operation("delete"):
            target = indexes.get(request.match_info["index_name"])
            body = await body_of(request, wire.DeleteRequest, limits)
            with metrics.store("delete"):
                deleted, absent = await target.delete(body.doc_ids)
            return answer({"deleted_doc_ids": deleted, "not_found_doc_ids": absent})

    async def drop(request: web.Request) -> web.Response:
        with metrics.operation("delete_index"):
            name = request.match_info["index_name"]
            await indexes.delete(name)
            return answer({"message": f"Successfully deleted index {name}."})

    router.add_post("/index", index)
    router.add_get("/indexes", names)
    router.add_get("/indexes/{index_name}/documents", documents)
    router.add_post("/indexes/{index_name}/documents", update)
    router.add_post("/indexes/{index_name}/documents/delete", delete)
    router.add_delete("/indexes/{index_name}", drop)


def _filter(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise Problem(400, "Invalid metadata filter format. Must be a valid JSON string.") from None
    if not isinstance(found, dict):
        raise Problem(400, 'Invalid metadata filter format. Must be a JSON object, such as {"author": "kaito"}.')
    return found


def _echo(document: Document) -> dict[str, Any]:
    return {
        "doc_id": document.doc_id,
        "text": document.text,
        "metadata": document.metadata,
        "hash_value": None,
        "is_truncated": False,
    }


def _listed(document: Document, text_length_max: int | None) -> dict[str, Any]:
    text = document.text
    is_cut = text_length_max is not None and len(text) > text_length_max
    return {
        "doc_id": document.doc_id,
        "text": text[:text_length_max] if is_cut else text,
        "metadata": document.metadata,
        "hash_value": content_hash(text, document.metadata),
        "is_truncated": is_cut,
    }


def _echoes(given: Sequence[wire.DocumentUpdate], positions: Sequence[int]) -> list[dict[str, Any]]:
    return [given[at].model_dump() for at in positions]

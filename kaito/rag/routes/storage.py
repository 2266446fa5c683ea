"""/persist and /load: copies of an index within the storage folder."""

from __future__ import annotations

from aiohttp import web

from kaito.rag import wire
from kaito.rag.problems import Problem, answer
from kaito.rag.routes.bodies import parameters_of
from kaito.rag.service import Service


def add_routes(router: web.UrlDispatcher, service: Service) -> None:
    metrics, indexes = service.metrics, service.indexes

    async def persist(request: web.Request) -> web.Response:
        with metrics.operation("persist"):
            name = request.match_info["index_name"]
            parameters = parameters_of(request, wire.PersistParameters)
            shown = await indexes.persist(name, parameters.path)
            return answer({"message": f"Successfully persisted index {name} to {shown}."})

    async def load(request: web.Request) -> web.Response:
        with metrics.operation("load"):
            name = _checked(request.match_info["index_name"])
            parameters = parameters_of(request, wire.LoadParameters)
            shown = await indexes.load(name, parameters.path, overwrite=parameters.overwrite)
            return answer({"message": f"Successfully loaded index {name} from {shown}."})

    router.add_post("/persist/{index_name}", persist)
    router.add_post("/load/{index_name}", load)


def _checked(name: str) -> str:
    """The name of an index that may be made: as strict as POST /index is."""
    if len(name) > wire.NAME_CHARACTERS_MAX or name in (".", "..") or not name.isprintable():
        raise Problem(422, f"index_name={name[:200]!r}: at most {wire.NAME_CHARACTERS_MAX} printable characters")
    return name

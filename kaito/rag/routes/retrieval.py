"""/retrieve."""

from __future__ import annotations

from time import perf_counter

from aiohttp import web

from kaito.rag import wire
from kaito.rag.problems import Problem, answer
from kaito.rag.retrieve import Query
from kaito.rag.routes.bodies import body_of
from kaito.rag.routes.nodes import node_with_score
from kaito.rag.service import Service


def add_routes(router: web.UrlDispatcher, service: Service) -> None:
    settings, metrics = service.settings, service.metrics

    async def retrieve(request: web.Request) -> web.Response:
        with metrics.operation("retrieve"):
            body = await body_of(request, wire.RetrieveRequest, settings.limits)
            _check_count(body.max_node_count, settings.top_k_max)
            index = service.indexes.get(body.index_name)
            if not body.query.strip():
                raise Problem(400, "Query string cannot be empty.")
            if body.rerank and service.reranker is None:
                raise Problem(400, "rerank=true: no reranker is configured; set LLM_RERANKER_MODEL to a cross-encoder.")
            query = Query(
                body.query,
                body.max_node_count,
                body.metadata_filter,
                body.mode,
                body.similarity_threshold,
                body.mmr_lambda,
                use_reranker=bool(body.rerank),
            )
            start = perf_counter()
            vector = await service.embed(query)
            embedded = perf_counter()
            found = await service.search(index, query, vector)
            searched = perf_counter()
            metrics.result_count.observe(len(found))
            metrics.scores([one.similarity for one in found if one.similarity is not None])
            results = [node_with_score(one, index.folder.header.uid) for one in found]
            timing = f"embed;dur={(embedded - start) * 1e3:.2f}, search;dur={(searched - embedded) * 1e3:.2f}"
            reply = {"query": body.query, "results": results, "count": len(results)}
            return answer(reply, headers={"Server-Timing": timing})

    router.add_post("/retrieve", retrieve)


def _check_count(count: int, bound: int) -> None:
    if count > bound:
        message = f"Input should be less than or equal to {bound}"
        raise Problem(
            422, [{"type": "less_than_equal", "loc": ["body", "max_node_count"], "msg": message, "input": count}]
        )

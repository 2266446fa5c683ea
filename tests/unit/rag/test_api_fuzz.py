"""Whatever a client sends to whatever the OpenAPI document lists: an answer that is JSON, and never a 500."""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaito.rag import openapi
from kaito.rag.server import running
from tests.unit.rag.harness import HashEmbedding, settings_at

DOCUMENT = openapi.document(has_keys=False)
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = [(path, method, one) for path, methods in DOCUMENT["paths"].items() for method, one in methods.items()]
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["k", "k", "k", "other", "a/b", "..", "", "ü\u0000", "n" * 200, "%2e%2e"]) | st.text(
    max_size=10
)
PATHS = st.sampled_from(["../x", "/etc", "copy", ".kaito", "", "a/../..", "k\u0000", "~"])
IDS = st.sampled_from(["d", ""]) | st.text(max_size=5)


def values(schema: dict[str, Any], name: str = "") -> st.SearchStrategy[Any]:
    """Mostly what the schema allows, now and then anything."""
    return st.one_of(*[_valid(schema, name)] * 4, ANY)


def _valid(schema: dict[str, Any], name: str) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return _valid(SCHEMAS[schema["$ref"].rsplit("/", 1)[1]], name)
    if name == "index_name":
        return NAMES
    if name == "doc_id" or name == "doc_ids":
        return IDS if name == "doc_id" else st.lists(IDS, max_size=3)
    if "anyOf" in schema:
        return st.one_of(*[_valid(one, name) for one in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object" if "properties" in schema:
            required = set(schema.get("required", ()))
            fields = {key: values(one, key) for key, one in schema["properties"].items()}
            return st.fixed_dictionaries(
                {key: one for key, one in fields.items() if key in required},
                optional={key: one for key, one in fields.items() if key not in required},
            )
        case "object":
            return st.dictionaries(st.text(max_size=6), ANY, max_size=3)
        case "array":
            return st.lists(values(schema.get("items", {})), max_size=3)
        case "integer":
            return st.integers(-2, 400) | st.integers()
        case "number":
            return st.floats(-2, 2) | st.floats()
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "string":
            return st.text(max_size=30)
    return ANY


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, bytes | None]:
    path, method, operation = draw(st.sampled_from(OPERATIONS))
    query = []
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            path = path.replace("{index_name}", quote(draw(NAMES), safe="", errors="replace"))
        elif draw(st.booleans()):
            value = draw(PATHS if parameter["name"] == "path" else values(parameter["schema"]))
            text = value if isinstance(value, str) else json.dumps(value)
            query.append(f"{parameter['name']}={quote(text, safe='', errors='replace')}")
    body = None
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = draw(st.one_of(*[values(schema).map(lambda one: json.dumps(one).encode())] * 9, st.binary(max_size=20)))
    return method, path + ("?" + "&".join(query) if query else ""), body


class Running:
    """One service for all examples."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.runner.run(self._start())

    async def _start(self) -> None:
        settings = settings_at(Path(self.folder), host="127.0.0.1", port=0)
        self.port = await self.stack.enter_async_context(running(settings, HashEmbedding()))
        self.http = await self.stack.enter_async_context(aiohttp.ClientSession())
        body = {"index_name": "k", "documents": [{"text": "one", "metadata": {"a": 1}}, {"text": "two_three"}]}
        assert (await self.send("post", "/index", json.dumps(body).encode()))[0] == 200

    async def send(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        from yarl import URL

        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)
        async with self.http.request(method, url, data=body, headers={"Content-Type": "application/json"}) as response:
            return response.status, await response.read()

    def close(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()


def test_no_request_is_answered_500_or_with_anything_but_json() -> None:
    service = Running()

    @settings(max_examples=400, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(requests())
    def answers(request: tuple[str, str, bytes | None]) -> None:
        status, body = service.runner.run(service.send(*request))
        assert status != 500, (request, body)
        if request[1] != "/metrics":
            json.loads(body)

    try:
        answers()
        outside = [one for one in Path(service.folder).parent.iterdir() if one.name in ("x", "copy")]
        assert not outside
    finally:
        service.close()

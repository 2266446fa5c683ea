"""`python -m tests.unit.inference.fuzz --cases 10000 [--engine transformers]`: requests made from the OpenAPI document.

Valid ones, valid ones with one value replaced, and bytes that are no request at all. No answer may be a 500, every
refusal is OpenAI's envelope, and nothing may be running at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kaito.inference.app import App
from kaito.inference.generation import ModelInfo
from kaito.inference.openapi import document

ALLOWED = {200, 400, 401, 403, 404, 405, 408, 413, 415, 429}
CONTEXT_TOKENS = 64
SIDE_BY_SIDE = 16
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
Case = tuple[str, bytes]


def cases() -> st.SearchStrategy[Case]:
    """(path, body)."""
    api = json.loads(document())
    definitions = api["components"]["schemas"]
    strategies = []
    for path, methods in api["paths"].items():
        if "post" not in methods:
            continue
        reference = methods["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        name = reference.rpartition("/")[2]
        valid = of_schema(definitions[name], definitions)
        strategies.append(st.tuples(st.just(path), bodies(valid, definitions[name])))
    return st.one_of(strategies)


def of_schema(schema: dict[str, Any], definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit a schema of the kind that msgspec writes."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return st.deferred(lambda: of_schema(definitions[name], definitions))
    if "anyOf" in schema:
        return st.one_of([of_schema(option, definitions) for option in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema.get("minimum"), schema.get("maximum"))
        case "number":
            bounds = (schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum"))
            return st.floats(*bounds, allow_nan=False, allow_infinity=False)
        case "string":
            return st.text(min_size=schema.get("minLength", 0), max_size=12)
        case "array":
            items = of_schema(schema.get("items", {}), definitions)
            return st.lists(items, max_size=min(3, schema.get("maxItems", 3)))
        case "object" if "properties" in schema:
            known = {key: of_schema(value, definitions) for key, value in schema["properties"].items()}
            required = {key: known.pop(key) for key in schema.get("required", ())}
            return st.fixed_dictionaries(required, optional=known)
        case "object":
            values = schema.get("additionalProperties", {})
            return st.dictionaries(
                st.text(max_size=8), of_schema(values if values is not True else {}, definitions), max_size=3
            )
    return JSON


def bodies(valid: st.SearchStrategy[Any], schema: dict[str, Any]) -> st.SearchStrategy[bytes]:
    fields = st.sampled_from(sorted(schema["properties"]))
    # Small, so that the model is really asked and not only the validation.
    wholesome = {"model": "fake", "max_tokens": 3, "max_completion_tokens": 3, "max_output_tokens": 3}
    usual = {key: value for key, value in wholesome.items() if key in schema["properties"]}
    tame = st.tuples(valid, st.sets(fields, max_size=3)).map(
        lambda found: {k: v for k, v in found[0].items() if k in found[1] or k in schema["required"]} | usual
    )
    replaced = st.tuples(tame, fields, JSON).map(lambda found: {**found[0], found[1]: found[2]})
    encoded = (tame | tame | replaced | valid).map(lambda value: json.dumps(value).encode())
    return encoded | st.binary(max_size=40)


async def ask(session: aiohttp.ClientSession, url: str, case: Case) -> int:
    path, body = case
    async with session.post(url + path, data=body) as answer:
        data = await answer.read()
        assert answer.status in ALLOWED, (answer.status, case, data)
        if answer.status != 200:
            assert set(json.loads(data)) == {"error"}, (case, data)
        return answer.status


async def fuzz(url: str, app: App, count: int) -> Counter[int]:
    """How many answers had each status. Raises AssertionError with the case."""
    made: list[Case] = []

    @settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def collect(case: Case) -> None:
        made.append(case)

    await asyncio.to_thread(collect)
    seen: Counter[int] = Counter()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
        for at in range(0, len(made), SIDE_BY_SIDE):
            seen.update(await asyncio.gather(*(ask(session, url, case) for case in made[at : at + SIDE_BY_SIDE])))
    state = app.state
    async with asyncio.timeout(20):
        while state.in_flight.count or (state.admission and state.admission.running):  # noqa: ASYNC110
            await asyncio.sleep(0)
    return seen


@asynccontextmanager
async def fake_server() -> AsyncIterator[tuple[str, App]]:
    from tests.unit.inference.harness import serving

    async with serving(slots=64) as served:
        served.generator.info = ModelInfo(root="fake", context_tokens=CONTEXT_TOKENS)
        yield served.url, served.app


@asynccontextmanager
async def real_server() -> AsyncIterator[tuple[str, App]]:
    from kaito.inference.engines.tiny import make_tiny
    from kaito.inference.settings import Limits, ModelSettings, ServerSettings
    from tests.contract.engine.conftest import serving

    with tempfile.TemporaryDirectory() as folder:
        make_tiny(Path(folder) / "m", "Phi3ForCausalLM")
        model = ModelSettings(
            model=f"{folder}/m", served_names=("fake",), context_tokens=CONTEXT_TOKENS, kv_cache_bytes=8 << 20
        )
        settings_ = ServerSettings(engine="transformers", host="127.0.0.1", port=0, model=model, limits=Limits())
        async with serving(settings_, Path(folder)) as served:
            yield served.url, served.app


async def main(count: int, engine: str) -> None:
    async with fake_server() if engine == "fake" else real_server() as (url, app):
        seen = await fuzz(url, app, count)
    print(json.dumps({"cases": sum(seen.values()), **{str(status): n for status, n in sorted(seen.items())}}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--engine", choices=("fake", "transformers"), default="fake")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.cases, arguments.engine))

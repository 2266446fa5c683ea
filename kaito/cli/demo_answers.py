"""What the demo shows when the Workspace is ready: kubectl's table, the models, an answer, and one as it comes."""

from __future__ import annotations

import json
import ssl

import aiohttp

from kaito.api.meta import Json, ObjectRef
from kaito.cli.demo_screen import Screen
from kaito.cli.demo_talk import NoAnswer, Talk, answer_text, has_random_weights
from kaito.cli.demo_way import KINDS
from kaito.cli.tables import server_table
from kaito.local.cluster import Cluster, Served

QUESTION = "In one sentence: what does a Kubernetes operator do?"
TOKENS_MAX = 48
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
TABLE_TIMEOUT_S = 15.0
RANDOM = (
    "Note: no model hub was reached and no --weights given, so this is the model's own architecture at a tiny size\n"
    "with RANDOM weights: the answers below are noise. `--weights DIR` serves real ones."
)


async def show_table(cluster: Cluster, root: Json, screen: Screen) -> None:
    """Shows what `kubectl get` does. Raises NoAnswer."""
    meta = root["metadata"]
    table = await table_of(cluster.served, KINDS[root["kind"]].ref(meta["namespace"], meta["name"]))
    screen.say("\n".join(["", *server_table(table)]))


async def show_answers(address: str, screen: Screen) -> None:
    """Shows what the model server answers. Raises NoAnswer for what does not come."""
    async with aiohttp.ClientSession() as session:
        talk = Talk(session, f"http://{address}")
        try:
            models = await _show_models(talk, screen)
            await _show_talk(talk, served_name(talk, models), screen)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswer(f"{talk.base_url}: {type(error).__name__}: {error}") from error


async def table_of(served: Served, ref: ObjectRef) -> Json:
    """The Table that the API server makes of a root: what kubectl prints. Raises NoAnswer."""
    kind = KINDS[ref.kind]
    path = f"/apis/{kind.api_version}/namespaces/{ref.namespace}/{kind.plural}/{ref.name}"
    headers = {"Authorization": f"Bearer {served.token}", "Accept": TABLE}
    context = ssl.create_default_context(cadata=served.ca_pem) if served.url.startswith("https:") else True
    timeout = aiohttp.ClientTimeout(total=TABLE_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        async with session.get(served.url + path, headers=headers, ssl=context) as response:
            found = await response.json(content_type=None)
            if response.status != 200 or found.get("kind") != "Table":
                raise NoAnswer(f"GET {served.url}{path} as a table: {response.status} {json.dumps(found)[:300]}")
            table: Json = found
            return table


async def _show_models(talk: Talk, screen: Screen) -> Json:
    models = await talk.models()
    screen.say(f"\n$ curl {talk.base_url}/v1/models")
    screen.say(json.dumps(models, indent=2))
    if has_random_weights(models):
        screen.say("\n" + RANDOM)
    return models


def served_name(talk: Talk, models: Json) -> str:
    """The name that the first model answers to. Raises NoAnswer."""
    try:
        return str(models["data"][0]["id"])
    except (KeyError, IndexError, TypeError) as error:
        raise NoAnswer(f"GET {talk.base_url}/v1/models lists no model: {json.dumps(models)[:300]}") from error


def curl(talk: Talk, path: str, body: Json) -> str:
    """The request as one would type it."""
    return f"$ curl {talk.base_url}{path} -H 'Content-Type: application/json' -d '{json.dumps(body)}'"


async def _show_talk(talk: Talk, model: str, screen: Screen) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": TOKENS_MAX}
    screen.say("\n" + curl(talk, "/v1/chat/completions", body))
    completion = await talk.chat(model, QUESTION, tokens_max=TOKENS_MAX)
    screen.say(f"{model}: {answer_text(completion)}")
    screen.say(f"usage: {json.dumps(completion.get('usage'))}")
    screen.say("\nThe same, streamed:")
    screen.write(f"{model}: ")
    pieces = 0
    async for piece in talk.chat_stream(model, QUESTION, tokens_max=TOKENS_MAX):
        screen.write(piece)
        pieces += 1
    screen.say(f"\n({pieces} pieces)")

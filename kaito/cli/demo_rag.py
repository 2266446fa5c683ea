"""What the demo shows of a RAGEngine: a folder indexed, what a question finds in it, and an answer with its sources."""

from __future__ import annotations

import json
from collections.abc import Sequence
from time import monotonic

import aiohttp

from kaito.api.meta import Json
from kaito.cli.demo_answers import RANDOM, curl, served_name
from kaito.cli.demo_screen import Screen
from kaito.cli.demo_talk import NoAnswer, Talk, answer_text, has_random_weights

QUESTION = "How do I serve a LoRA adapter that I have tuned?"
INDEX = "docs"
BATCH_DOCUMENTS = 16
FOUND_MAX = 3
TOKENS_MAX, CONTEXT_RATIO = 768, 0.8  # the passages get that share of what the answer may take
TOO_FAR = "no passage is near enough to the question; ask in the documents' own words (RAG_SIMILARITY_THRESHOLD)"
EXCERPT_CHARACTERS, ANSWER_CHARACTERS = 100, 400


async def show_sources(address: str, documents: Sequence[Json], question: str, screen: Screen) -> None:
    """Indexes, searches and asks. Raises NoAnswer for what does not come, sources included."""
    async with aiohttp.ClientSession() as session:
        talk = Talk(session, f"http://{address}")
        try:
            models = await talk.models()
            await _index(talk, documents, screen)
            await _retrieve(talk, question, screen)
            if has_random_weights(models):
                screen.say("\n" + RANDOM + "\nThe embedding model is real, and so are the sources.")
            await _answer(talk, served_name(talk, models), question, screen)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswer(f"{talk.base_url}: {type(error).__name__}: {error}") from error


async def _index(talk: Talk, documents: Sequence[Json], screen: Screen) -> None:
    files = {document["metadata"]["file"] for document in documents}
    screen.write(f"\nIndexing {len(documents)} sections of {len(files)} files ")
    began = monotonic()
    for start in range(0, len(documents), BATCH_DOCUMENTS):
        await talk.post("/index", {"index_name": INDEX, "documents": documents[start : start + BATCH_DOCUMENTS]})
        screen.write(".")
    screen.say(f" {monotonic() - began:.1f} s; each was on disk before its 200")


async def _retrieve(talk: Talk, question: str, screen: Screen) -> None:
    body = {"index_name": INDEX, "query": question, "max_node_count": FOUND_MAX}
    screen.say("\n" + curl(talk, "/retrieve", body))
    found = await talk.post("/retrieve", body)
    results = found.get("results") if isinstance(found, dict) else None
    if not results:
        raise NoAnswer(f"POST {talk.base_url}/retrieve found nothing: {json.dumps(found)[:300]}")
    for result in results:
        text = " ".join(result["text"].split())
        screen.say(f"  {place(result)}  {text[:EXCERPT_CHARACTERS]}{'…' if len(text) > EXCERPT_CHARACTERS else ''}")


async def _answer(talk: Talk, model: str, question: str, screen: Screen) -> None:
    body = {
        "model": model,
        "index_name": INDEX,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": TOKENS_MAX,
        "context_token_ratio": CONTEXT_RATIO,
        "seed": 7,
    }
    screen.say("\n" + curl(talk, "/v1/chat/completions", body))
    completion = await talk.post("/v1/chat/completions", body)
    text = answer_text(completion)
    screen.say(f"{model}: {text[:ANSWER_CHARACTERS]}{'…' if len(text) > ANSWER_CHARACTERS else ''}")
    sources = completion.get("source_nodes")
    if not sources:
        raise NoAnswer(f"POST {talk.base_url}/v1/chat/completions: an answer without sources: {TOO_FAR}")
    screen.say("sources:")
    for number, source in enumerate(sources, 1):
        screen.say(f"  [{number}] {place(source)}")


def place(node: Json) -> str:
    """Where a passage is from, and how near it is to the question."""
    metadata = node.get("metadata") or {}
    nearness = node.get("dense_score")
    score = f" (cosine {nearness:.2f})" if isinstance(nearness, float) else ""
    return f"{metadata.get('file', '?')}: {metadata.get('section', '?')}{score}"

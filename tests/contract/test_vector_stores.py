"""One suite for every vector store: the embedded one, the local modes of Qdrant and Milvus, a real PostgreSQL.

`KAITO_TEST_QDRANT_URL`, `KAITO_TEST_MILVUS_URL` and `KAITO_TEST_PGVECTOR_URL` name servers to run it against too.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaito.rag.generation import field_term
from kaito.rag.settings import RagSettings
from kaito.rag.vectors import VectorEntry, VectorStore, VectorStoreUnavailable, Where
from kaito.rag.vectors.stores import store_maker

D = 8
QUOTE, DROP = "quote'\"\\", "'; DROP TABLE kaito; --"
NEEDS = {"faiss": "faiss", "qdrant": "qdrant_client", "milvus": "milvus_lite", "pgvector": "pgserver"}
SERVERS = [kind for kind in ("qdrant", "milvus", "pgvector") if f"KAITO_TEST_{kind.upper()}_URL" in os.environ]


@dataclass(frozen=True)
class Place:
    """Where stores of one kind keep their vectors."""

    settings: RagSettings
    uid: str

    @asynccontextmanager
    async def open(self, uid: str | None = None) -> AsyncIterator[VectorStore]:
        store = await store_maker(self.settings)(uid or self.uid, D)
        try:
            yield store
        finally:
            await store.close()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real PostgreSQL with pgvector, started here."""
    import pgserver

    folder = tmp_path_factory.mktemp("postgres")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)  # PostgreSQL refuses to run as root, and pgserver then takes a user of its own
    server = pgserver.get_server(folder / "data")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@pytest.fixture(params=[*NEEDS, *(f"{kind} server" for kind in SERVERS)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    kind, _, is_server = request.param.partition(" ")
    if find_spec(NEEDS[kind]) is None and not is_server:
        pytest.skip(f"{NEEDS[kind]} is not installed")
    url = os.environ[f"KAITO_TEST_{kind.upper()}_URL"] if is_server else ""
    if kind == "pgvector" and not is_server:
        url = request.getfixturevalue("postgres")
    settings = RagSettings(vector_store=kind, vector_store_url=url, vector_store_secret="", storage=tmp_path)
    return Place(settings, secrets.token_hex(16))


def vector(*values: float) -> Any:
    """[D], of length 1."""
    row = np.zeros(D, np.float32)
    row[: len(values)] = values
    return row / np.linalg.norm(row)


def entry(number: int, row: Any, **metadata: Any) -> VectorEntry:
    return VectorEntry(number, row, f"doc-{number}", f"text of {number}", metadata)


def where(entries: Mapping[int, VectorEntry], **fields: Any) -> Where:
    wanted = {field_term(key, value) for key, value in fields.items()}
    alive = [n for n, e in entries.items() if wanted <= {field_term(*pair) for pair in e.metadata.items()}]
    return Where(fields, np.array(sorted(alive), np.int64))


async def found(store: VectorStore, query: Any, k: int, allowed: Where | None = None) -> list[int]:
    numbers: list[int] = (await store.view().search(query, k, allowed)).numbers.tolist()
    return numbers


async def test_the_nearest_come_first_with_their_cosine(place: Place) -> None:
    async with place.open() as store:
        assert await found(store, vector(1), 3) == []
        await store.add([entry(1, vector(1)), entry(2, vector(1, 1)), entry(3, vector(-1)), entry(7, vector(0, 1))])
        hits = await store.view().search(vector(1), 3, None)
        assert hits.numbers.tolist() == [1, 2, 7]
        assert hits.similarities == pytest.approx([1.0, 0.5**0.5, 0.0], abs=1e-3)
        await store.drop()


async def test_a_write_is_seen_at_once_and_may_be_repeated(place: Place) -> None:
    async with place.open() as store:
        for row in (vector(1), vector(0, 1), vector(0, 1)):
            await store.add([entry(1, row), entry(2, vector(0, 0, 1))])
            assert await found(store, row, 5) == [1, 2]
        assert (await store.view().search(vector(0, 1), 1, None)).similarities[0] == pytest.approx(1.0, abs=1e-3)
        await store.drop()


async def test_what_is_deleted_is_gone_and_the_numbers_of_the_others_stay(place: Place) -> None:
    async with place.open() as store:
        rows = {number: vector(*np.random.default_rng(number).normal(size=D)) for number in range(1, 21)}
        await store.add([entry(number, row) for number, row in rows.items()])
        await store.delete([3, 5, 8, 99])
        await store.delete([3])
        await store.add([entry(21, rows[3])])
        alive = set(rows) - {3, 5, 8} | {21}
        assert set(await found(store, vector(1), 50)) == alive
        assert await found(store, rows[3], 1) == [21]
        assert [await found(store, rows[number], 1) for number in sorted(alive - {21})] == [
            [number] for number in sorted(alive - {21})
        ]
        await store.drop()


async def test_vectors_are_given_back_by_their_numbers(place: Place) -> None:
    async with place.open() as store:
        assert await store.view().vectors([1]) == {}
        await store.add([entry(1, vector(1, 2)), entry(2, vector(3, 4))])
        given = await store.view().vectors([2, 1, 9])
        assert {number: row.tolist() for number, row in given.items()} == {
            1: pytest.approx(vector(1, 2).tolist(), abs=1e-3),
            2: pytest.approx(vector(3, 4).tolist(), abs=1e-3),
        }
        await store.drop()


@pytest.mark.parametrize("many", [False, True], ids=["few match", "more match than fit in a request"])
async def test_a_filter_comes_before_the_cut_and_compares_as_the_index_does(place: Place, many: bool) -> None:
    async with place.open() as store:
        kinds: list[dict[str, Any]] = [
            {"kind": "a", "n": 1},
            {"kind": "a", "n": "1"},
            {"kind": "b", "n": True},
            {"kind": "b", "n": 1.0, "odd key.with$chars": ["x", {"y": None}]},
        ]
        rng = np.random.default_rng(4)
        near = {n: entry(n, vector(5, *rng.normal(size=D - 1) * 0.1), kind="near") for n in range(100, 160)}
        rest = {n: entry(n, vector(*rng.normal(size=D)), **kinds[n % 4]) for n in range(1300 if many else 12)}
        entries = rest | near
        await store.add(list(rest.values()))
        await store.add([one for n, one in near.items() if n not in rest or many])
        entries = rest | near
        for fields in ({"kind": "a"}, {"n": 1}, {"n": "1"}, {"n": True}, {"kind": "b", "n": 1}, {"kind": "none"}):
            allowed = where(entries, **fields)
            expected = len(allowed.numbers)
            numbers = await found(store, vector(1), 2000, allowed)
            assert set(numbers) == set(allowed.numbers.tolist()), fields
            assert len(await found(store, vector(1), 5, allowed)) == min(5, expected)
        nested = where(entries, **{"odd key.with$chars": ["x", {"y": None}]})
        assert set(await found(store, vector(1), 2000, nested)) == set(nested.numbers.tolist()) != set()
        await store.drop()


async def test_text_and_metadata_may_hold_anything(place: Place) -> None:
    async with place.open() as store:
        odd = {
            "id": "x",
            "text": "y",
            "doc_id": 3,
            "embedding": [1],
            "": "empty",
            "quote'\"\\": "'; DROP TABLE kaito; --",
        }
        await store.add([VectorEntry(1, vector(1), "doc '\x00", "a\x00b \ud83d \u2603", odd)])
        allowed = where({1: entry(1, vector(1), **odd)}, **{QUOTE: DROP})
        assert await found(store, vector(1), 3, allowed) == [1]
        await store.drop()


async def test_indexes_do_not_see_each_other_and_one_goes_alone(place: Place) -> None:
    other = secrets.token_hex(16)
    async with place.open() as store, place.open(other) as second:
        await store.add([entry(1, vector(1))])
        await second.add([entry(1, vector(0, 1)), entry(2, vector(1))])
        assert await found(store, vector(1), 5) == [1]
        await second.drop()
        assert await found(store, vector(1), 5) == [1]
        await store.drop()


async def test_an_external_store_keeps_what_it_acknowledged(place: Place) -> None:
    async with place.open() as store:
        if store.is_embedded:
            return  # its index's log gives it everything again
        await store.add([entry(n, vector(*np.random.default_rng(n).normal(size=D)), kind="k") for n in range(1, 40)])
        await store.delete([4])
        before = await found(store, vector(1, 1), 50)
    async with place.open() as store:
        assert await found(store, vector(1, 1), 50) == before
        assert len(before) == 38
        await store.drop()


async def test_searches_go_on_beside_writes(place: Place) -> None:
    async with place.open() as store:
        await store.add([entry(1, vector(1))])
        writes = [store.add([entry(n, vector(0, 1, n / 100)) for n in range(10 * b, 10 * b + 10)]) for b in range(1, 6)]

        async def write() -> None:
            for one in writes:
                await one

        async def read() -> None:
            for _ in range(20):
                assert await found(store, vector(1), 1) == [1]

        await asyncio.gather(write(), read(), read())
        assert len(await found(store, vector(1), 100)) == 51
        await store.drop()


async def test_the_nearest_are_those_of_an_exact_search_after_any_history(place: Place) -> None:
    rng = np.random.default_rng(11)
    alive: dict[int, Any] = {}
    async with place.open() as store:
        for step in range(30):
            if alive and step % 3 == 2:
                gone = [int(n) for n in rng.choice(sorted(alive), size=min(4, len(alive)), replace=False)]
                await store.delete(gone)
                for number in gone:
                    del alive[number]
            else:
                added = {step * 10 + at: vector(*rng.normal(size=D)) for at in range(rng.integers(1, 8))}
                await store.add([entry(number, row) for number, row in added.items()])
                alive |= added
        for _ in range(5):
            query = vector(*rng.normal(size=D))
            exact = sorted(alive, key=lambda number: -float(alive[number] @ query))[:10]
            assert await found(store, query, 10) == exact
        await store.drop()


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("qdrant", "http://127.0.0.1:9"),
        ("pgvector", "postgresql://postgres@127.0.0.1:9/postgres"),
        ("pgvector", "not a url"),
    ],
)
async def test_a_store_that_does_not_answer_is_named(kind: str, url: str, tmp_path: Path) -> None:
    if find_spec({"qdrant": "qdrant_client", "pgvector": "asyncpg"}[kind]) is None:
        pytest.skip(f"{kind} is not installed")
    settings = RagSettings(vector_store=kind, vector_store_url=url, storage=tmp_path)
    with pytest.raises(VectorStoreUnavailable, match="VECTOR_DB_URL"):
        await store_maker(settings)(secrets.token_hex(16), D)

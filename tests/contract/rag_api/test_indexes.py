"""Indexes and their documents over HTTP: what upstream's black-box tests pin, and what its defects should have been."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest

from tests.contract.rag_api.service import Rag

pytestmark = pytest.mark.asyncio(loop_scope="session")

BREAD = "Bake the bread for forty minutes until the crust is golden."
VIOLIN = "The violin concerto opens with a slow movement in D minor."
TOMATO = "Tomatoes grow best in full sun with regular watering."
GO_CODE = 'package main\n\nimport "fmt"\n\nfunc main() {\n\tfmt.Println("greetings")\n}\n'


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def test_indexed_documents_come_back_in_request_order_with_the_hash_of_their_text(rag: Rag, index: str) -> None:
    before = await rag.metric("rag_index_requests_total", status="success")
    reply = await rag.index(index, {"text": BREAD, "doc_id": "mine"}, VIOLIN)
    assert reply.status == 200
    assert reply.body == [
        {"doc_id": sha256(text), "text": text, "metadata": {}, "hash_value": None, "is_truncated": False}
        for text in (BREAD, VIOLIN)
    ]
    assert await rag.metric("rag_index_requests_total", status="success") == before + 1
    assert index in (await rag.call("GET", "/indexes")).body


async def test_an_empty_batch_makes_no_index(rag: Rag, index: str) -> None:
    assert (await rag.index(index)).body == []
    assert index not in (await rag.call("GET", "/indexes")).body


async def test_metadata_null_means_none(rag: Rag, index: str) -> None:
    for text in (BREAD, VIOLIN):  # the second is appended, where upstream fails
        assert (await rag.index(index, {"text": text, "metadata": None})).status == 200
    assert [d["metadata"] for d in (await rag.documents(index)).body["documents"]] == [{}, {}]


async def test_the_same_text_is_indexed_once_in_a_batch_and_across_batches(rag: Rag, index: str) -> None:
    first = await rag.ids(index, BREAD, BREAD)
    assert first[0] == first[1]
    await rag.ids(index, *(f"{BREAD} Tray {n}." for n in range(10)), BREAD)
    listed = (await rag.documents(index, limit=100)).body
    assert listed["total_items"] == listed["count"] == 11
    assert [d["text"] for d in listed["documents"]] == [BREAD, *(f"{BREAD} Tray {n}." for n in range(10))]


async def test_first_posts_to_one_name_at_once_all_stay(rag: Rag, index: str) -> None:
    texts = [f"{TOMATO} Bed {n}." for n in range(8)]
    await asyncio.gather(*(rag.ids(index, text) for text in texts))
    assert sorted(await rag.texts(index)) == sorted(texts)


async def test_an_update_tells_changed_unchanged_and_unknown_documents_apart(rag: Rag, index: str) -> None:
    bread, violin = await rag.ids(index, BREAD, VIOLIN)
    changed = {"doc_id": bread, "text": f"{BREAD} Let it cool.", "metadata": {}}
    same = {"doc_id": violin, "text": VIOLIN, "metadata": {}}
    unknown = {"doc_id": "0" * 64, "text": TOMATO, "metadata": {}}
    reply = await rag.update(index, changed, same, unknown)
    assert reply.status == 200
    assert {kind: [d["doc_id"] for d in documents] for kind, documents in reply.body.items()} == {
        "updated_documents": [bread],
        "unchanged_documents": [violin],
        "not_found_documents": ["0" * 64],
    }
    assert sorted(await rag.texts(index)) == sorted([changed["text"], VIOLIN])
    assert await rag.metric("rag_indexes_update_document_requests_total", status="success") >= 1


async def test_changed_metadata_alone_is_an_update(rag: Rag, index: str) -> None:
    (bread,) = await rag.ids(index, BREAD)
    reply = await rag.update(index, {"doc_id": bread, "text": BREAD, "metadata": {"page": 7}})
    assert [d["doc_id"] for d in reply.body["updated_documents"]] == [bread]
    assert (await rag.documents(index)).body["documents"][0]["metadata"] == {"page": 7}


async def test_after_an_update_the_old_text_can_be_added_again_and_the_new_one_is_known(rag: Rag, index: str) -> None:
    (bread,) = await rag.ids(index, BREAD)
    await rag.update(index, {"doc_id": bread, "text": VIOLIN, "metadata": {}})
    await rag.ids(index, VIOLIN)
    assert await rag.texts(index) == [VIOLIN]
    await rag.ids(index, BREAD)
    assert sorted(await rag.texts(index)) == sorted([BREAD, VIOLIN])
    best = (await rag.retrieve(index, "baking bread", max_node_count=1)).body["results"][0]
    assert best["text"] == BREAD


async def test_a_delete_tells_found_and_unknown_ids_apart(rag: Rag, index: str) -> None:
    bread, violin, tomato = await rag.ids(index, BREAD, VIOLIN, TOMATO)
    reply = await rag.delete(index, tomato, "0" * 64, bread)
    assert (reply.status, reply.body) == (200, {"deleted_doc_ids": [tomato, bread], "not_found_doc_ids": ["0" * 64]})
    assert [d["doc_id"] for d in (await rag.documents(index)).body["documents"]] == [violin]
    assert (await rag.delete(index, bread)).body == {"deleted_doc_ids": [], "not_found_doc_ids": [bread]}
    assert await rag.metric("rag_indexes_delete_document_requests_total", status="success") >= 2


async def test_what_is_added_after_deletes_is_found_and_what_stayed_too(rag: Rag, index: str) -> None:
    """Upstream reuses the ids of its vectors: after deletes an added document shares one with a living document."""
    words = ["anchor", "basil", "copper", "dragon", "ember", "falcon", "ginger", "harbor", "iris", "jasmine"]
    texts = {word: f"The {word} is kept in drawer number {n}." for n, word in enumerate(words)}
    ids = dict(zip(words, await rag.ids(index, *texts.values()), strict=True))
    await rag.delete(index, *(ids[word] for word in words[:4]))
    added = {word: f"A note about the {word} on the second shelf." for word in ("kelp", "lantern", "marble", "nectar")}
    await rag.ids(index, *added.values())
    alive = {word: texts[word] for word in words[4:]} | added
    best = {w: (await rag.retrieve(index, f"where is the {w}")).body["results"][0]["text"] for w in alive}
    assert best == alive
    await rag.delete(index, *(ids[word] for word in words[4:]))
    assert sorted(await rag.texts(index)) == sorted(added.values())


async def test_documents_are_listed_in_pages_and_cut_on_request(rag: Rag, index: str) -> None:
    texts = [f"{TOMATO} Row {n}." for n in range(15)]
    await rag.ids(index, *texts)
    first = (await rag.documents(index)).body
    assert (first["count"], first["total_items"]) == (10, 15)
    assert [d["text"] for d in first["documents"]] == texts[:10]
    assert await rag.texts(index, limit=10, offset=10) == texts[10:]
    assert (await rag.documents(index, offset=100)).body == {"documents": [], "count": 0, "total_items": 15}
    cut = (await rag.documents(index, limit=1, max_text_length=8)).body["documents"][0]
    assert (cut["text"], cut["is_truncated"]) == (TOMATO[:8], True)
    for bad in ({"limit": 0}, {"limit": 101}, {"offset": -1}, {"max_text_length": 0}, {"limit": "many"}):
        assert (await rag.documents(index, **bad)).status == 422, bad


async def test_a_long_document_is_listed_once_whatever_its_chunks(rag: Rag, index: str) -> None:
    long = " ".join(f"Sentence number {n} tells of the harbour and its ships." for n in range(600))
    (long_id,) = await rag.ids(index, {"text": long, "metadata": {"kind": "long"}})
    listed = (await rag.documents(index, max_text_length=len(long))).body
    assert (listed["count"], listed["total_items"]) == (1, 1)
    assert (listed["documents"][0]["doc_id"], listed["documents"][0]["text"]) == (long_id, long)
    found = (await rag.retrieve(index, "Sentence number 580")).body["results"]
    assert {node["doc_id"] for node in found} == {long_id}
    assert len({node["node_id"] for node in found}) == len(found) > 1


async def test_listed_documents_can_be_filtered_by_metadata(rag: Rag, index: str) -> None:
    kinds = ["recipe"] * 7 + ["music"]
    documents = [
        {"text": f"{BREAD} Take {n}.", "metadata": {"kind": kind, "n": n, "author": "ada"}}
        for n, kind in enumerate(kinds)
    ]
    await rag.ids(index, *documents)
    totals = {
        '{"kind": "music"}': 1,
        '{"author": "ada"}': 8,
        '{"kind": "recipe", "author": "ada"}': 7,
        '{"n": 3}': 1,
        '{"n": "3"}': 0,
        '{"kind": "prose"}': 0,
        '{"absent": "ada"}': 0,
    }
    found = {query: (await rag.documents(index, metadata_filter=query)).body["total_items"] for query in totals}
    assert found == totals
    paged = (await rag.documents(index, metadata_filter='{"kind": "recipe"}', limit=2, offset=6)).body
    assert (paged["count"], paged["total_items"]) == (1, 7)


async def test_a_filter_that_is_no_json_object_is_refused(rag: Rag, index: str) -> None:
    await rag.ids(index, BREAD)
    broken = await rag.documents(index, metadata_filter="{broken")
    assert (broken.status, broken.detail) == (400, "Invalid metadata filter format. Must be a valid JSON string.")
    assert (await rag.documents(index, metadata_filter=json.dumps(["kind"]))).status == 400


async def test_code_is_split_by_its_language(rag: Rag, index: str) -> None:
    reply = await rag.index(index, {"text": GO_CODE, "metadata": {"split_type": "code", "language": "go"}})
    assert reply.status == 200
    found = (await rag.retrieve(index, "Println greetings", max_node_count=1)).body["results"]
    assert "Println" in found[0]["text"]


@pytest.mark.parametrize("metadata", [{"split_type": "code"}, {"split_type": "code", "language": "klingon"}])
async def test_code_of_no_or_an_unknown_language_is_refused_and_nothing_of_the_batch_stays(
    rag: Rag, index: str, metadata: dict[str, str]
) -> None:
    reply = await rag.index(index, BREAD, {"text": GO_CODE, "metadata": metadata})
    assert 400 <= reply.status < 500
    assert "language" in json.dumps(reply.body).lower()
    listed = await rag.documents(index)
    assert listed.status == 404 or listed.body["total_items"] == 0


async def test_a_deleted_index_is_gone_and_its_name_starts_empty(rag: Rag, index: str) -> None:
    await rag.ids(index, BREAD)
    reply = await rag.call("DELETE", f"/indexes/{index}")
    assert (reply.status, reply.body) == (200, {"message": f"Successfully deleted index {index}."})
    assert index not in (await rag.call("GET", "/indexes")).body
    assert (await rag.call("DELETE", f"/indexes/{index}")).status == 404
    await rag.ids(index, VIOLIN)
    assert await rag.texts(index) == [VIOLIN]
    assert await rag.metric("rag_delete_index_requests_total", status="success") >= 1
    assert await rag.metric("rag_delete_index_requests_total", status="failure") >= 1


async def test_an_unknown_index_is_a_404_that_names_it(rag: Rag, index: str) -> None:
    calls = [
        rag.documents(index),
        rag.update(index, {"doc_id": "a", "text": "b"}),
        rag.delete(index, "a"),
        rag.call("DELETE", f"/indexes/{index}"),
        rag.call("POST", f"/persist/{index}"),
        rag.retrieve(index, "bread"),
        rag.chat("bread", index_name=index),
    ]
    replies = [await call for call in calls]
    assert [r.status for r in replies] == [404] * len(replies)
    assert {r.detail for r in replies} == {f"No such index: '{index}' exists."}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"index_name": "x"},
        {"index_name": 3, "documents": []},
        {"index_name": "x", "documents": [{"metadata": {}}]},
        {"index_name": "x", "documents": [{"text": 3}]},
        {"index_name": "x", "documents": "text"},
    ],
)
async def test_a_body_of_another_shape_is_a_422_that_names_the_field(rag: Rag, body: dict[str, object]) -> None:
    reply = await rag.call("POST", "/index", json=body)
    assert reply.status == 422
    assert all({"loc", "msg", "type"} <= set(problem) for problem in reply.body["detail"])


async def test_errors_are_counted_as_errors(rag: Rag, index: str) -> None:
    before = await rag.metric("e2e_request_total", status="failure")
    await rag.documents(index)
    assert await rag.metric("e2e_request_total", status="failure") == before + 1


async def test_the_service_says_that_it_lives_and_what_it_serves(rag: Rag) -> None:
    health = await rag.call("GET", "/health")
    assert (health.status, health.body) == (200, {"status": "Healthy", "detail": None})
    document = (await rag.call("GET", "/openapi.json")).body
    assert {
        "/index",
        "/indexes",
        "/indexes/{index_name}",
        "/indexes/{index_name}/documents",
        "/indexes/{index_name}/documents/delete",
        "/persist/{index_name}",
        "/load/{index_name}",
        "/retrieve",
        "/v1/chat/completions",
        "/health",
        "/metrics",
    } <= set(document["paths"])

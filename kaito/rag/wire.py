"""Bodies and parameters of the REST API: upstream's names and defaults, checked precisely."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

NAME_CHARACTERS_MAX = 128
DOCUMENTS_MAX = 10_000
METADATA_DEPTH_MAX = 16
INT_MIN, INT_MAX = -(1 << 63), (1 << 64) - 1  # what the log's encoding holds


def _plain(value: Any, depth: int = 0) -> Any:
    if depth > METADATA_DEPTH_MAX:
        raise ValueError(f"metadata is nested more than {METADATA_DEPTH_MAX} deep")
    match value:
        case bool() | None | str():
            pass
        case int() if not INT_MIN <= value <= INT_MAX:
            raise ValueError(f"the number {str(value)[:40]} in metadata does not fit in 64 bits: send it as a string")
        case float() if not math.isfinite(value):
            raise ValueError("metadata holds a number that is not finite")
        case dict():
            for one in value.values():
                _plain(one, depth + 1)
        case list():
            for one in value:
                _plain(one, depth + 1)
    return value


def _name(name: str) -> str:
    if name in (".", "..") or any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise ValueError("an index name has no control characters, and is not '.' or '..'")
    return name


IndexName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=NAME_CHARACTERS_MAX),
    AfterValidator(_name),
    Field(examples=["docs"]),
]
Metadata = Annotated[dict[str, Any], AfterValidator(_plain)]


class Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class DocumentIn(Model):
    """A document to index. `doc_id` is ignored: the answer has the id, the SHA-256 of the text."""

    doc_id: str = ""
    text: str
    metadata: Metadata | None = Field(default_factory=dict)
    hash_value: str | None = None
    is_truncated: bool = False


class DocumentUpdate(DocumentIn):
    doc_id: Annotated[str, StringConstraints(min_length=1)]


class IndexRequest(Model):
    index_name: IndexName
    documents: Annotated[list[DocumentIn], Field(max_length=DOCUMENTS_MAX)]


class UpdateRequest(Model):
    documents: Annotated[list[DocumentUpdate], Field(max_length=DOCUMENTS_MAX)]


class DeleteRequest(Model):
    doc_ids: Annotated[list[str], Field(max_length=DOCUMENTS_MAX)]


class RetrieveRequest(Model):
    """`max_node_count` is bounded by RAG_MAX_TOP_K too. From `mode` on the fields are kaito's own."""

    index_name: IndexName
    query: Annotated[str, StringConstraints(max_length=100_000)]
    max_node_count: Annotated[int, Field(ge=1)] = 5
    metadata_filter: Metadata | None = None
    mode: Literal["hybrid", "dense", "sparse"] = "hybrid"
    similarity_threshold: Annotated[float, Field(ge=-1, le=1)] | None = None
    mmr_lambda: Annotated[float, Field(ge=0, le=1)] | None = None
    rerank: bool | None = None


class ListParameters(Model):
    limit: Annotated[int, Field(ge=1, le=100)] = 10
    offset: Annotated[int, Field(ge=0, le=1 << 40)] = 0
    max_text_length: Annotated[int, Field(ge=1)] | None = 1000
    metadata_filter: str | None = None


class LoadParameters(Model):
    path: str | None = None
    overwrite: bool = False


class PersistParameters(Model):
    path: str | None = None


class Document(Model):
    doc_id: str
    text: str
    metadata: dict[str, Any] | None = Field(default_factory=dict)
    hash_value: str | None = None
    is_truncated: bool = False


class DocumentList(Model):
    documents: list[Document]
    count: int
    total_items: int


class UpdateAnswer(Model):
    updated_documents: list[Document]
    unchanged_documents: list[Document]
    not_found_documents: list[Document]


class DeleteAnswer(Model):
    deleted_doc_ids: list[str]
    not_found_doc_ids: list[str]


class NodeWithScore(Model):
    """`score`: higher is better. `dense_score`: cosine similarity; `sparse_score`: BM25."""

    doc_id: str
    node_id: str
    text: str
    score: float
    dense_score: float | None = None
    sparse_score: float | None = None
    source: Literal["both", "dense_only", "sparse_only"] | None = None
    metadata: dict[str, Any] | None = None


class RetrieveAnswer(Model):
    query: str
    results: list[NodeWithScore]
    count: int


class Message(Model):
    message: str


class Health(Model):
    status: str
    detail: str | None = None


class ErrorItem(Model):
    type: str
    loc: list[str | int]
    msg: str


class ErrorAnswer(Model):
    detail: str | list[ErrorItem]


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="allow")
    role: str
    content: str | list[Any] | None = None


class ChatBody(BaseModel):
    """OpenAI's chat completion request, all of it; the two fields of ours are not passed on."""

    model_config = ConfigDict(extra="allow")
    messages: list[ChatMessage]
    model: str | None = None
    stream: bool | None = None
    index_name: str | None = None
    context_token_ratio: float | None = None


class ChatAnswer(BaseModel):
    """OpenAI's chat completion; `source_nodes` null where the request was passed through."""

    model_config = ConfigDict(extra="allow")
    source_nodes: list[NodeWithScore] | None = None


class AnyObject(BaseModel):
    model_config = ConfigDict(extra="allow")

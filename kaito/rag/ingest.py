"""Documents to nodes: LlamaIndex's splitters, and for each node its text to embed and its terms.

Upstream's splitting: 1024 tokens with an overlap of 200, the metadata's length counting; code (metadata `split_type:
code`) by its syntax tree, for the language that metadata `language` names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec
from llama_index.core.node_parser import CodeSplitter, SentenceSplitter

from kaito.rag.analysis import terms
from kaito.rag.generation import field_terms

CHUNK_TOKENS, OVERLAP_TOKENS = 1024, 200
LANGUAGE = re.compile(r"[a-z0-9_+#]{1,40}")


class CannotSplit(ValueError):
    """The document cannot be split as its metadata asks."""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A document ready to be embedded. Per node: its text, the text to embed, its terms."""

    text: str
    text_id: str  # SHA-256 of the text
    metadata: dict[str, Any]
    nodes: tuple[str, ...]
    embedded: tuple[str, ...]
    terms: tuple[list[str], ...]
    fields: list[str]


def text_id(text: str) -> str:
    """SHA-256 of the UTF-8 text, hexadecimal: what a new document is called."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def content_hash(text: str, metadata: Mapping[str, Any]) -> str:
    """Upstream's: over the text and Python's way of writing the metadata."""
    return hashlib.sha256((text + str(dict(metadata))).encode(errors="surrogatepass")).hexdigest()


def with_metadata(text: str, metadata: Mapping[str, Any]) -> str:
    """What is embedded and searched: lines `key: value`, an empty line, the text."""
    if not metadata:
        return text
    return "\n".join(f"{key}: {value}" for key, value in metadata.items()) + "\n\n" + text


def prepare(text: str, metadata: Mapping[str, Any]) -> Prepared:
    """Takes CPU time: for a worker thread. Raises CannotSplit."""
    nodes = split(text, metadata)
    embedded = tuple(with_metadata(node, metadata) for node in nodes)
    return Prepared(
        text=text,
        text_id=text_id(text),
        metadata=dict(metadata),
        nodes=nodes,
        embedded=embedded,
        terms=tuple(terms(node) for node in embedded),
        fields=field_terms(metadata),
    )


def split(text: str, metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """At least one node, whatever the text. Raises CannotSplit."""
    if metadata.get("split_type") == "code":
        pieces = _code_splitter(_language(metadata)).split_text(text)
    elif (
        len(text.encode(errors="surrogatepass")) + len(with_metadata("", metadata).encode(errors="surrogatepass"))
        < CHUNK_TOKENS
    ):
        return (text.strip() or text,)  # no token is shorter than a byte: it fits
    else:
        try:
            pieces = _sentence_splitter().split_text_metadata_aware(text, with_metadata("", metadata))
        except ValueError as error:
            raise CannotSplit(f"metadata: {error} A chunk has {CHUNK_TOKENS} tokens; shorten the metadata.") from error
    kept = tuple(piece for piece in pieces if piece.strip())
    return kept or (text,)


def _language(metadata: Mapping[str, Any]) -> str:
    language = metadata.get("language")
    if not language:
        raise CannotSplit('Language not specified in node metadata. Set metadata.language, for example to "python".')
    if not isinstance(language, str) or not LANGUAGE.fullmatch(language.lower()):
        raise CannotSplit(
            f"metadata.language={language!r}: expected the name of a programming language, such as python"
        )
    return language.lower()


@lru_cache(maxsize=1)
def _sentence_splitter() -> SentenceSplitter:
    return SentenceSplitter(chunk_size=CHUNK_TOKENS, chunk_overlap=OVERLAP_TOKENS)


@lru_cache(maxsize=64)
def _code_splitter(language: str) -> CodeSplitter:
    from tree_sitter_language_pack import get_parser

    try:
        parser = get_parser(language)
    except LookupError as error:
        raise CannotSplit(
            f"metadata.language={language!r}: no grammar of that name (python, go, rust, java, …)"
        ) from error
    return CodeSplitter(language=language, parser=parser)

"""Records and how they stand in a file: magic, length and CRC-32 before each, so that a tear shows."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np

from kaito.rag.generation import Document
from kaito.rag.postings import Float32s

FORMAT = 1
MAGIC = b"KRL1"
HEAD = struct.Struct("<4sII")  # magic, length of the payload, its CRC-32
RECORD_BYTES_MAX = 1 << 30


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="header"):
    """First record of every file. `uid`: of the index, so that a file cannot be taken for another's."""

    format: int = FORMAT
    uid: str
    name: str
    dimensions: int
    model: str
    created: float = 0.0  # seconds since 1970


class Change(msgspec.Struct, frozen=True, kw_only=True, tag="change"):
    """What one turn of the writer did: `removed` first, then `documents`, which replace those of the same id.

    `vectors`: float32, little-endian, [nodes of all documents, dimensions]; empty where the vector store keeps them.
    """

    removed: tuple[str, ...] = ()
    documents: tuple[Document, ...] = ()
    vectors: bytes = b""


class PostingColumns(msgspec.Struct, frozen=True, kw_only=True):
    """`Postings`, little-endian: int64 terms and starts, int32 rows, uint16 counts."""

    terms: bytes
    starts: bytes
    rows: bytes
    counts: bytes


class Columns(msgspec.Struct, frozen=True, kw_only=True, tag="columns"):
    """Terms of all documents of the snapshot, which come before it. What has none is split into terms again.

    `words`, `fields`: the vocabularies, by number; `lengths`: float32, little-endian, terms of each node.
    """

    analysis: int
    words: tuple[str, ...]
    fields: tuple[str, ...]
    word_postings: PostingColumns
    field_postings: PostingColumns
    lengths: bytes


class End(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    """Last record of a snapshot: what came before is all of it."""

    documents: int
    next_number: int


Content: TypeAlias = Change | Columns
Record: TypeAlias = Header | Content | End
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


def encode(record: Record) -> bytes:
    """Raises ValueError over RECORD_BYTES_MAX."""
    payload = _encoder.encode(record)
    if len(payload) > RECORD_BYTES_MAX:
        raise ValueError(f"a record of {len(payload)} bytes: at most {RECORD_BYTES_MAX}; send fewer documents at once")
    return HEAD.pack(MAGIC, len(payload), zlib.crc32(payload)) + payload


def vector_rows(change: Change, dimensions: int) -> Float32s:
    """[nodes, dimensions]; [0, dimensions] where the record carries none."""
    return np.frombuffer(change.vectors, "<f4").reshape(-1, dimensions)


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes [start, end) that are no record. `is_tail`: nothing readable follows, as after a crash while writing."""

    start: int
    end: int
    is_tail: bool


def scan(data: Any) -> Iterator[Record | Damage]:
    """Records of a file's bytes in order, and the damage between them."""
    view, at = memoryview(data), 0
    while at < len(view):
        record, end = _read(view, at)
        if record is not None:
            yield record
            at = end
            continue
        start = at
        at = _next_record(data, view, at + 1)
        yield Damage(start, at, at == len(view))


def _read(view: memoryview, at: int) -> tuple[Record | None, int]:
    if len(view) - at < HEAD.size:
        return None, at
    magic, length, checksum = HEAD.unpack_from(view, at)
    start, end = at + HEAD.size, at + HEAD.size + length
    if magic != MAGIC or end > len(view) or zlib.crc32(view[start:end]) != checksum:
        return None, at
    try:
        return _decoder.decode(view[start:end]), end
    except msgspec.DecodeError:
        return None, at


def _next_record(data: Any, view: memoryview, at: int) -> int:
    while (at := data.find(MAGIC, at)) >= 0:
        if _read(view, at)[0] is not None:
            return at
        at += 1
    return len(view)

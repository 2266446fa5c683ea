"""Files of rows: JSON, JSON lines, CSV, Parquet and Arrow, each row with the place that it came from."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from kaito.tuning.errors import ConfigError

Row: TypeAlias = tuple[str, Any]  # `file:line` (or `file: row n`), and what stands there
FORMATS = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
BATCH_ROWS = 1000


def format_of(path: Path) -> str:
    """The format that the name says (`.gz` aside), empty for another."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return FORMATS.get(suffixes[-1], "") if suffixes else ""


def read_rows(path: Path, format_: str) -> Iterator[Row]:
    """The file's rows in order. Raises ConfigError where the file cannot be read as what it should be."""
    try:
        yield from READERS[format_](path)
    except (OSError, EOFError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8") from error


def _open(path: Path, newline: str | None = None) -> TextIO:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline=newline)
    return path.open(encoding="utf-8-sig", newline=newline)


def _json(path: Path) -> Iterator[Row]:
    """An array of rows, an object that holds one array of rows, or rows one after the other."""
    with _open(path) as file:
        text = file.read()
    start = _skip_space(text, 0)
    if text.startswith("[", start):
        yield from _array(path, text, start + 1)
        return
    decoder, at, line, counted = json.JSONDecoder(), start, 1, 0
    while at < len(text):
        line, counted = line + text.count("\n", counted, at), at
        value, end = _decode(decoder, text, at, path)
        at = _skip_space(text, end)
        if counted == start and at >= len(text) and (held := _held_rows(value)):
            yield from ((f"{path}: row {number}", row) for number, row in enumerate(held, start=1))
            return
        yield f"{path}:{line}", value


def _held_rows(value: Any) -> list[Any]:
    """The rows of a lone object that holds one list of objects; a lone chat is a row itself."""
    if not isinstance(value, dict) or {"messages", "conversations"} & set(value):
        return []
    lists = [part for part in value.values() if isinstance(part, list)]
    return lists[0] if len(lists) == 1 and all(isinstance(row, dict) for row in lists[0]) else []


def _array(path: Path, text: str, at: int) -> Iterator[Row]:
    decoder, line, counted = json.JSONDecoder(), 1, 0
    at = _skip_space(text, at)
    while not text.startswith("]", at):
        line, counted = line + text.count("\n", counted, at), at
        value, end = _decode(decoder, text, at, path)
        yield f"{path}:{line}", value
        at = _skip_space(text, end)
        if text.startswith(",", at):
            at = _skip_space(text, at + 1)
        elif not text.startswith("]", at):
            line += text.count("\n", counted, at)
            raise ConfigError(f"{path}:{line}: expected , or ] after the row, found {text[at : at + 1] or 'the end'!r}")


def _decode(decoder: json.JSONDecoder, text: str, at: int, path: Path) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}:{error.lineno}: not JSON: {error.msg} (column {error.colno})") from error


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _jsonl(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield f"{path}:{number}", json.loads(line)
            except json.JSONDecodeError as error:
                message = f"{path}:{number}: not JSON: {error.msg} (column {error.colno}); expected one object a line"
                raise ConfigError(message) from error


def _csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    with _open(path, newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if None in row:
                    raise ConfigError(f"{where}: more fields than the header's {len(reader.fieldnames or ())}")
                yield where, row
        except csv.Error as error:
            raise ConfigError(f"{path}:{reader.line_num}: not CSV: {error}") from error


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            yield from _batches(path, file.iter_batches(batch_size=BATCH_ROWS))
    except pyarrow.ArrowException as error:
        raise ConfigError(f"{path}: not Parquet: {error}") from error


def _arrow(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import ipc

    try:
        with pyarrow.memory_map(str(path)) as source:
            try:
                reader = ipc.open_stream(source)
            except pyarrow.ArrowInvalid:
                table = ipc.open_file(source).read_all()
                yield from _batches(path, iter(table.to_batches(BATCH_ROWS)))
                return
            yield from _batches(path, iter(reader))
    except pyarrow.ArrowException as error:
        raise ConfigError(f"{path}: not an Arrow file or stream: {error}") from error


def _batches(path: Path, batches: Iterator[Any]) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for row in batch.to_pylist():
            number += 1
            yield f"{path}: row {number}", row


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "json": _json,
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": _parquet,
    "arrow": _arrow,
}

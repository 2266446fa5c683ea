"""The data set: which files, which form, which rows to train on and which to evaluate on.

The forms are trl's: `messages` (a chat), `prompt` and `completion` (the completion is learnt), `text` (all is learnt).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kaito.tuning.config import DatasetConfig
from kaito.tuning.errors import ConfigError
from kaito.tuning.readers import BATCH_ROWS, FORMATS, format_of, read_rows

BAD_ROWS_SHOWN = 5
MOUNT = Path("/mnt")  # where the cluster mounts the data folder, and what upstream's paths are relative to
ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}  # ShareGPT's words for them


@dataclass(frozen=True, slots=True)
class Form:
    """What the columns mean. `context` is empty for text, and names the list of messages for a chat."""

    kind: Literal["messages", "prompt", "text"]
    response: str
    context: str = ""


@dataclass(frozen=True, slots=True)
class Split:
    """`evaluation` is None where nothing is held back. Both are `datasets.Dataset`."""

    train: Any
    evaluation: Any | None
    form: Form


def find_files(config: DatasetConfig, folder: Path) -> list[tuple[Path, str]]:
    """The data files and their formats, by name. Raises ConfigError where there are none."""
    if not folder.is_dir():
        raise ConfigError(f"the data folder {folder} does not exist")
    given = config.dataset_path
    patterns = [given] if isinstance(given, str) else given or []
    found = [path for pattern in patterns for path in _matches(pattern, folder)] if patterns else _all_in(folder)
    files = [(path, _format(path, config)) for path in dict.fromkeys(found)]
    if chosen := config.dataset_extension:
        files = [(path, format_) for path, format_ in files if format_ == chosen]
    elif patterns and (unknown := [path for path, format_ in files if not format_]):
        raise ConfigError(
            f"DatasetConfig.dataset_path: {unknown[0]}: unknown format; expected {', '.join(FORMATS)}, or "
            "DatasetConfig.dataset_extension to name it"
        )
    files = [(path, format_) for path, format_ in files if format_]
    if not files:
        wanted = config.dataset_extension or ", ".join(FORMATS)
        raise ConfigError(f"no data file in {folder} (expected {wanted}); found: {_listing(folder)}")
    return files


def digest_of(files: Sequence[tuple[Path, str]]) -> str:
    """A hash of the files' names and contents."""
    total = hashlib.blake2b(digest_size=16)
    for path, _ in files:
        with path.open("rb") as file:
            total.update(path.name.encode() + hashlib.file_digest(file, "blake2b").digest())
    return total.hexdigest()


def load_split(config: DatasetConfig, files: Sequence[tuple[Path, str]]) -> Split:
    """The rows of all files, shuffled by the seed and split. Raises ConfigError that names bad rows by their place."""
    rows, form = _table(config, files)
    if config.shuffle_dataset:
        rows = rows.shuffle(seed=config.shuffle_seed)
    if config.train_test_split == 1:
        return Split(rows, None, form)
    if int(len(rows) * config.train_test_split) in (0, len(rows)):
        raise ConfigError(
            f"DatasetConfig.train_test_split: {config.train_test_split} of {len(rows)} rows leaves one side empty: "
            "set it to 1, or bring more rows"
        )
    parts = rows.train_test_split(train_size=config.train_test_split, seed=config.shuffle_seed)
    return Split(parts["train"], parts["test"], form)


def _table(config: DatasetConfig, files: Sequence[tuple[Path, str]]) -> tuple[Any, Form]:
    import datasets
    import pyarrow

    form: Form | None = None
    schema: Any = None
    batches: list[Any] = []
    waiting: list[dict[str, Any]] = []
    bad: list[str] = []
    for where, raw in _rows(files):
        if not isinstance(raw, Mapping):
            bad.append(f"{where}: expected an object with columns, found {_kind(raw)}")
        else:
            form = form or detect_form(config, raw, where)
            row, wrong = canonical(form, raw)
            if wrong:
                bad.append(f"{where}: {wrong}")
            else:
                waiting.append(row)
        if len(bad) == BAD_ROWS_SHOWN:
            break
        if len(waiting) == BATCH_ROWS:
            batches.append(pyarrow.Table.from_pylist(waiting, schema=schema))
            schema, waiting = batches[0].schema, []
    if bad:
        more = " (the first of them)" if len(bad) == BAD_ROWS_SHOWN else ""
        raise ConfigError(f"bad rows{more}: " + "; ".join(bad))
    if waiting:
        batches.append(pyarrow.Table.from_pylist(waiting, schema=schema))
    if form is None or not batches:
        raise ConfigError(f"the data set is empty: no row in {', '.join(path.name for path, _ in files)}")
    return datasets.Dataset(pyarrow.concat_tables(batches)), form


def _rows(files: Sequence[tuple[Path, str]]) -> Iterator[tuple[str, Any]]:
    for path, format_ in files:
        yield from read_rows(path, format_)


def detect_form(config: DatasetConfig, row: Mapping[str, Any], where: str) -> Form:
    """What the columns mean: as the options say, else by their usual names. Raises ConfigError."""
    named = {
        "messages_column": config.messages_column,
        "context_column": config.context_column,
        "response_column": config.response_column,
    }
    for option, column in named.items():
        if column and column not in row:
            raise ConfigError(f"DatasetConfig.{option}: no column {column!r} at {where}; found {', '.join(row)}")
    if config.messages_column:
        return Form("messages", config.messages_column)
    if config.response_column:
        kind: Literal["prompt", "text"] = "prompt" if config.context_column else "text"
        return Form(kind, config.response_column, config.context_column or "")
    for column in ("messages", "conversations"):
        if column in row:
            return Form("messages", column)
    if "prompt" in row and "completion" in row:
        return Form("prompt", "completion", "prompt")
    if "text" in row:
        return Form("text", "text")
    raise ConfigError(
        f"{where}: columns {', '.join(row)}: expected messages, prompt and completion, or text; name yours with "
        "DatasetConfig.messages_column, or context_column and response_column"
    )


def canonical(form: Form, row: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The row in trl's columns, or what is wrong with it."""
    if form.kind == "messages":
        messages, wrong = _messages(row.get(form.response), form.response)
        if not wrong and all(message["role"] != "assistant" for message in messages):
            wrong = f"{form.response} has no message of the role assistant: there is nothing to learn"
        return {"messages": messages}, wrong
    if form.kind == "text":
        return {"text": row.get(form.response)}, _not_text(row, form.response)
    prompt, completion = row.get(form.context), row.get(form.response)
    if isinstance(prompt, list) or isinstance(completion, list):
        asked, wrong = _messages(prompt, form.context)
        told, also = _messages(completion, form.response)
        return {"prompt": asked, "completion": told}, wrong or also
    wrong = _not_text(row, form.context) or _not_text(row, form.response)
    return {"prompt": prompt, "completion": completion}, wrong


def _not_text(row: Mapping[str, Any], column: str) -> str:
    if column not in row:
        return f"no column {column!r}; found {', '.join(row)}"
    value = row[column]
    if not isinstance(value, str) or not value:
        return f"{column} is {_kind(value)}: expected a text that is not empty"
    return ""


def _messages(value: Any, column: str) -> tuple[list[dict[str, str]], str]:
    if not isinstance(value, list) or not value:
        return [], f"{column} is {_kind(value)}: expected a list of messages with role and content"
    messages = []
    for number, message in enumerate(value, start=1):
        if not isinstance(message, Mapping):
            return [], f"{column}, message {number} is {_kind(message)}: expected an object with role and content"
        role, content = message.get("role", message.get("from")), message.get("content", message.get("value"))
        if not isinstance(role, str) or not isinstance(content, str):
            return [], f"{column}, message {number}: expected the texts role and content, found {', '.join(message)}"
        messages.append({"role": ROLES.get(role, role), "content": content})
    return messages, ""


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case "":
            return "empty"
        case []:
            return "an empty list"
        case str():
            return "a text"
        case list():
            return "a list"
        case Mapping():
            return "an object"
    return repr(value)[:40]


def _matches(pattern: str, folder: Path) -> list[Path]:
    """Files that the pattern names. A path under the cluster's mount is meant under the folder."""
    path = Path(pattern)
    if path.is_relative_to(MOUNT):
        path = path.relative_to(MOUNT)
    elif path.is_absolute():
        raise ConfigError(f"DatasetConfig.dataset_path: {pattern}: expected a path under the data folder {folder}")
    if ".." in path.parts:
        raise ConfigError(f"DatasetConfig.dataset_path: {pattern}: may not leave the data folder")
    relative = str(path.relative_to("data") if path.is_relative_to("data") else path)
    hits = sorted(folder.glob(relative)) if relative != "." else [folder]
    files = [file for hit in hits for file in (_all_in(hit) if hit.is_dir() else [hit])]
    if not files:
        raise ConfigError(f"DatasetConfig.dataset_path: nothing at {pattern} in {folder}; found: {_listing(folder)}")
    return files


def _all_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not any(part[0] == "." for part in _below(p, folder)))


def _below(path: Path, folder: Path) -> tuple[str, ...]:
    """The path's parts below the folder; a mounted ConfigMap keeps its versions in hidden folders."""
    return path.relative_to(folder).parts


def _format(path: Path, config: DatasetConfig) -> str:
    return format_of(path) or ("" if path.suffix else config.dataset_extension or "")


def _listing(folder: Path) -> str:
    names = [str(path.relative_to(folder)) for path in _all_in(folder)]
    return ", ".join(names[:10]) + (" …" if len(names) > 10 else "") or "nothing"

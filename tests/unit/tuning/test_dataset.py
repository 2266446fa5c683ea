from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ipc, parquet

from kaito.tuning.config import DatasetConfig
from kaito.tuning.dataset import Split, digest_of, find_files, load_split
from kaito.tuning.errors import ConfigError
from kaito.tuning.readers import read_rows

ROWS = [{"prompt": f'q{i}, "quoted"\nline', "completion": f"a{i}"} for i in range(7)]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    match path.name.removesuffix(".gz").rpartition(".")[2]:
        case "json":
            text = json.dumps(rows, indent=1)
        case "jsonl":
            text = "".join(json.dumps(row) + "\n\n" for row in rows)
        case "csv":
            with path.open("w", newline="", encoding="utf-8-sig") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
            return
        case "parquet":
            parquet.write_table(pyarrow.Table.from_pylist(rows), path)
            return
        case "arrow":
            table = pyarrow.Table.from_pylist(rows)
            with pyarrow.OSFile(str(path), "wb") as sink, ipc.new_file(sink, table.schema) as out:
                out.write_table(table)
            return
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)


def load(folder: Path, **options: Any) -> Split:
    config = DatasetConfig(**{"train_test_split": 1, "shuffle_dataset": False, **options})
    return load_split(config, find_files(config, folder))


@pytest.mark.parametrize("name", ["r.json", "r.jsonl", "r.jsonl.gz", "r.csv", "r.parquet", "r.arrow"])
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    write(tmp_path / name, ROWS)
    assert load(tmp_path).train.to_list() == ROWS


def test_all_files_of_a_folder_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for index, name in enumerate(("a.jsonl", "b.csv", "sub/c.parquet")):
        write(tmp_path / name, ROWS[index : index + 1])
    (tmp_path / "README.txt").write_text("not data")
    assert load(tmp_path).train.to_list() == ROWS[:3]
    assert load(tmp_path, dataset_path="*.csv").train.to_list() == ROWS[1:2]
    assert load(tmp_path, dataset_path=["sub", "a.jsonl"]).train.to_list() == [ROWS[2], ROWS[0]]
    assert load(tmp_path, dataset_path="/mnt/data/a.jsonl").train.to_list() == ROWS[:1]
    assert load(tmp_path, dataset_path="data/b.csv").train.to_list() == ROWS[1:2]  # relative to /mnt, as upstream
    assert load(tmp_path, dataset_extension="parquet").train.to_list() == ROWS[2:3]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../x.csv", "may not leave"),
        ("/etc/passwd", "expected a path under the data folder"),
        ("none.csv", "nothing at none.csv .*; found: notes.txt, r.csv"),
        ("notes.txt", "notes.txt: unknown format; expected .json, .jsonl"),
    ],
)
def test_a_path_that_names_no_data_is_answered_with_what_is_there(path: str, message: str, tmp_path: Path) -> None:
    write(tmp_path / "r.csv", ROWS)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, dataset_path=path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.jsonl", '{"text": "a"}\n{"text": null}\n', r"r.jsonl:2: text is null: expected a text that is not empty"),
        ("r.jsonl", '{"text": "a"}\n{"txt": "b"}\n', r"r.jsonl:2: no column 'text'; found txt"),
        ("r.jsonl", '{"text": "a"}\n{"text": ', r"r.jsonl:2: not JSON: .*one object a line"),
        ("r.jsonl", "[1]\n", r"r.jsonl:1: expected an object with columns, found a list"),
        ("r.json", '[{"text": "a"},\n\n{"text": 5}]', r"r.json:3: text is 5: expected a text"),
        ("r.json", '[{"text": "a"}\n{"text": "b"}]', r"r.json:2: expected , or \] after the row, found '\{'"),
        ("r.json", '[{"text": "a"},\n{"text": }]', r"r.json:2: not JSON"),
        ("r.csv", "prompt,completion\na,b\nc\n", r"r.csv:3: completion is null"),
        ("r.csv", "prompt,completion\na,b,c\n", r"r.csv:2: more fields than the header's 2"),
        ("r.parquet", "no", r"r.parquet: not Parquet"),
        ("r.jsonl", "", r"the data set is empty: no row in r.jsonl"),
        ("r.jsonl", '{"messages": [{"role": "user", "content": "hi"}]}', r"no message of the role assistant"),
        ("r.jsonl", '{"messages": [{"role": "user"}]}', r"message 1: expected the texts role and content, found role"),
        ("r.jsonl", '{"messages": "hi"}', r"messages is a text: expected a list of messages"),
        (
            "r.jsonl",
            '{"a": "1", "b": "2"}',
            r"columns a, b: expected messages, prompt and completion, or text; name yours",
        ),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(tmp_path)


def test_several_bad_rows_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"text": "a"}\n' + '{"text": ""}\n' * 9)
    with pytest.raises(ConfigError, match=r"the first of them.*r.jsonl:2: .*r.jsonl:6: text is empty") as caught:
        load(tmp_path)
    assert "jsonl:7" not in str(caught.value)


def test_columns_have_the_meaning_that_the_options_give_them(tmp_path: Path) -> None:
    write(tmp_path / "r.jsonl", [{"q": "why", "a": "because", "chat": [{"from": "gpt", "value": "so"}]}])
    assert load(tmp_path, context_column="q", response_column="a").train.to_list() == [
        {"prompt": "why", "completion": "because"}
    ]
    assert load(tmp_path, response_column="a").train.to_list() == [{"text": "because"}]
    assert load(tmp_path, messages_column="chat").train.to_list() == [
        {"messages": [{"content": "so", "role": "assistant"}]}
    ]
    with pytest.raises(ConfigError, match=r"DatasetConfig.response_column: no column 'x' .*; found q, a, chat"):
        load(tmp_path, response_column="x")


def test_the_seed_decides_the_order_and_the_split(tmp_path: Path) -> None:
    write(tmp_path / "r.jsonl", ROWS)
    one = load(tmp_path, shuffle_dataset=True, train_test_split=0.6, shuffle_seed=1)
    again = load(tmp_path, shuffle_dataset=True, train_test_split=0.6, shuffle_seed=1)
    other = load(tmp_path, shuffle_dataset=True, train_test_split=0.6, shuffle_seed=2)
    assert one.evaluation is not None and other.evaluation is not None and again.evaluation is not None
    assert one.train.to_list() == again.train.to_list() != other.train.to_list()
    both = one.train.to_list() + one.evaluation.to_list()
    assert sorted(both, key=str) == sorted(ROWS, key=str) and len(one.train) == 4
    with pytest.raises(ConfigError, match=r"0.01 of 7 rows leaves one side empty"):
        load(tmp_path, train_test_split=0.01)


def test_the_digest_follows_the_contents(tmp_path: Path) -> None:
    config = DatasetConfig()
    write(tmp_path / "r.jsonl", ROWS)
    before = digest_of(find_files(config, tmp_path))
    assert before == digest_of(find_files(config, tmp_path))
    write(tmp_path / "r.jsonl", [ROWS[0], *ROWS[:6]])
    assert before != digest_of(find_files(config, tmp_path))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40)
@given(st.lists(st.dictionaries(st.text(), VALUES, max_size=3), min_size=1, max_size=5), st.sampled_from([None, 0, 3]))
def test_a_json_array_is_read_as_json_reads_it(rows: list[dict[str, Any]], indent: int | None) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "r.json")
        text = json.dumps(rows, indent=indent)
        path.write_text(text)
        found = list(read_rows(path, "json"))
        assert [row for _, row in found] == rows
        lines = [int(where.rpartition(":")[2]) for where, _ in found]
        written = text.split("\n")
        assert lines == sorted(lines) and all("{" in written[line - 1] for line in lines)


@settings(max_examples=50)
@given(st.binary())
def test_any_bytes_give_rows_or_an_error_that_names_the_file(data: bytes) -> None:
    import tempfile

    for format_ in ("json", "jsonl", "csv", "parquet", "arrow"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"r.{format_}")
            path.write_bytes(data)
            try:
                list(read_rows(path, format_))
            except ConfigError as error:
                assert str(path) in str(error)

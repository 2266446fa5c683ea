"""A tiny model that knows one wrong answer, and data that teaches another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tuning_model import OLD_ANSWER, QUESTION, TAUGHT, build_taught_model, taught_rows

__all__ = ["OLD_ANSWER", "QUESTION", "TAUGHT"]


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    build_taught_model(folder)
    return folder


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """200 rows that teach one fact."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in taught_rows(200)))
    return folder


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    """Writes training_config.yaml with these sections."""

    def write(**sections: Any) -> Path:
        path = tmp_path / "training_config.yaml"
        path.write_text(json.dumps({"training_config": sections}))
        return path

    return write

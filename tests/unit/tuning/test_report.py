from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.__main__ import run
from kaito.tuning.errors import ConfigError
from kaito.tuning.report import Curve, parse_curve, read_curve, svg, terminal

LINES = [
    {"step": 1, "steps": 3, "loss": 4.0, "grad_norm": 1.0},
    {"step": 2, "steps": 3, "loss": 9.0, "grad_norm": 1.0},  # before the crash
    {"step": 2, "steps": 3, "loss": 2.0, "grad_norm": 1.0},  # after it
    {"step": 2, "steps": 3, "eval_loss": 2.5},
    {"step": 3, "steps": 3, "loss": 1.0, "grad_norm": 1.0},
    {"step": 3, "steps": 3, "loss": 1.0, "eval_loss": 1.5},
]
CURVE = Curve(((1, 4.0), (2, 2.0), (3, 1.0)), ((2, 2.5), (3, 1.5)), 3)


def test_the_points_are_those_of_the_progress_file_and_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "training_progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES) + '{"step": ')
    assert read_curve(tmp_path) == read_curve(tmp_path / "training_progress.jsonl") == CURVE
    noise = ["Loading weights", '{"event": "checkpoint saved", "step": 2, "loss": 77}', "{broken", "[1]", "{}"]
    log = [f"2026-01-01T00:00:00Z {json.dumps({'event': 'tuning progressed', **line})}" for line in LINES]
    assert parse_curve([*noise, *log], "log") == CURVE


def test_a_source_without_a_loss_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("nothing\n")
    with pytest.raises(ConfigError, match=r"x.log: no line of progress with a loss"):
        read_curve(tmp_path / "x.log")
    with pytest.raises(ConfigError, match=r"none: cannot be read: No such file"):
        read_curve(tmp_path / "none")


def test_the_command_draws_and_writes_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "training_progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    assert run(["tune", "report", str(tmp_path), "--svg", str(tmp_path / "loss.svg"), "--title", "a < b"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "3 of 3 steps, loss 4 → 1, evaluation loss 1.5, best 1.5 at step 3"
    assert sum(line.count("o") for line in printed[1:-1]) == 2
    root = ElementTree.parse(tmp_path / "loss.svg").getroot()
    assert [text.text for text in root.iter() if text.text == "a < b"]
    [line] = root.iter("{http://www.w3.org/2000/svg}polyline")
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert len(points) == 3 and points[0][1] < points[1][1] < points[2][1]  # the loss falls: y grows downwards
    assert run(["tune", "report", str(tmp_path / "none")]) == 2


@given(
    st.dictionaries(st.integers(1, 10**6), st.floats(-1e6, 1e6), min_size=1),
    st.dictionaries(st.integers(1, 10**6), st.floats(-1e6, 1e6)),
)
def test_any_curve_can_be_drawn(loss: dict[int, float], evaluation: dict[int, float]) -> None:
    curve = Curve(tuple(sorted(loss.items())), tuple(sorted(evaluation.items())))
    lines = terminal(curve, width=60, height=8).splitlines()
    assert len(lines) == 12 and len({len(line) for line in lines[1:10]}) == 1
    ElementTree.fromstring(svg(curve))

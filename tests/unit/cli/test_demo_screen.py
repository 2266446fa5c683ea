"""The demo's progress on a terminal and elsewhere."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from kaito.cli.demo_screen import Lines, Picture, screen_for
from kaito.cli.demo_view import Stage
from tests.builders import moment


def test_a_pipe_gets_lines_that_are_only_added():
    out = StringIO()
    screen = screen_for(out, is_plain=False, now=lambda: moment(0))
    assert isinstance(screen, Lines)
    stages = [Stage("NodesPlanned", "waiting", moment(0), "thinking"), Stage("ClaimCreated", "later")]
    screen.say("begin")
    with screen.live(lambda: stages):
        stages[0] = Stage("NodesPlanned", "passed", moment(3), "1 node")
        screen.show()
        screen.show()
    assert out.getvalue().splitlines() == [
        "begin",
        "    0s  ...   nodes planned: thinking",
        "    3s  ok    nodes planned: 1 node",
    ]


def test_the_picture_shows_every_stage_with_its_age():
    stages = [
        Stage("NodesPlanned", "passed", moment(0), "1 node of 80 GiB"),
        Stage("ClaimLaunched", "waiting", moment(4), "the cloud is asked [not markup]"),
        Stage("ServerReady", "later"),
    ]
    console = Console(file=StringIO(), width=100)
    console.print(Picture(lambda: stages, lambda: moment(10), moment(0)))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert lines[0].split("  ")[0] == "✓ " or lines[0].startswith("✓")
    assert "nodes planned" in lines[0] and "10s ago" in lines[0] and "1 node of 80 GiB" in lines[0]
    assert "for 6s" in lines[1] and "[not markup]" in lines[1]
    assert "model loaded, server answers" in lines[2]
    assert "10s in all" in lines[3]

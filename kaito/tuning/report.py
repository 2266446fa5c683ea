"""The curve of a run: its points from the output folder or a log, as a picture for a page and one for a terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from kaito.logs import Event
from kaito.tuning.errors import ConfigError
from kaito.tuning.folder import PROGRESS

Point = tuple[int, float]  # step and loss
TICKS = 5
# Braille: eight dots a character, two across and four down, by their bit in the code point.
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
BLANK = 0x2800
LOSS_COLOUR, EVAL_COLOUR, INK = "#2f6fdb", "#d9822b", "#6b7280"


@dataclass(frozen=True, slots=True)
class Curve:
    """Points by step. A step that was done twice, after a crash, counts as it was done last."""

    loss: tuple[Point, ...]
    eval_loss: tuple[Point, ...]
    steps: int = 0  # that the run has in all; 0 where nothing says

    @property
    def words(self) -> str:
        """The run in one line."""
        parts = [f"{self.loss[-1][0]} of {self.steps} steps" if self.steps else f"{self.loss[-1][0]} steps"]
        parts.append(f"loss {self.loss[0][1]:.4g} → {self.loss[-1][1]:.4g}")
        if self.eval_loss:
            best = min(self.eval_loss, key=lambda point: point[1])
            parts.append(f"evaluation loss {self.eval_loss[-1][1]:.4g}, best {best[1]:.4g} at step {best[0]}")
        return ", ".join(parts)


def read_curve(source: Path) -> Curve:
    """The curve in an output folder, its training_progress.jsonl, or a trainer's log. Raises ConfigError."""
    try:
        text = (source / PROGRESS if source.is_dir() else source).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror}: expected an output folder or a log") from error
    return parse_curve(text.splitlines(), str(source))


def parse_curve(lines: Iterable[str], name: str) -> Curve:
    """The curve in these lines; those that are none of ours are passed over. Raises ConfigError without a point."""
    loss: dict[int, float] = {}
    evaluation: dict[int, float] = {}
    steps = 0
    for line in lines:
        found = _line(line)
        steps = max(steps, int(found.get("steps", 0)))
        # A line about an evaluation repeats the loss of the last step: only its own key is news.
        key, into = ("eval_loss", evaluation) if "eval_loss" in found and "grad_norm" not in found else ("loss", loss)
        if isinstance(value := found.get(key), int | float) and math.isfinite(value):
            into[int(found["step"])] = float(value)
    if not loss:
        raise ConfigError(f"{name}: no line of progress with a loss: expected {PROGRESS}, or a log of the trainer")
    return Curve(tuple(sorted(loss.items())), tuple(sorted(evaluation.items())), steps)


def terminal(curve: Curve, *, width: int = 72, height: int = 14) -> str:
    """The curve in braille, `width` by `height` characters with its scales."""
    low, high, last = _bounds(curve)
    labels = [f"{high - (high - low) * row / (height - 1):.3g}" for row in range(height)]
    margin = max(map(len, labels))
    across, down = (width - margin - 2) * 2, height * 4
    grid = [[BLANK] * (across // 2) for _ in range(height)]

    def place(point: Point) -> tuple[int, int]:
        share = (high - point[1]) / (high - low)
        return round((point[0] - 1) / max(1, last - 1) * (across - 1)), round(share * (down - 1))

    for start, end in zip(curve.loss, curve.loss[1:] or curve.loss, strict=False):
        for column, row in _between(place(start), place(end)):
            grid[row // 4][column // 2] |= DOTS[row % 4][column % 2]
    text = [[chr(code) for code in row] for row in grid]
    for point in curve.eval_loss:
        column, row = place(point)
        text[row // 4][column // 2] = "o"
    body = [f"{label:>{margin}} │{''.join(row)}" for label, row in zip(labels, text, strict=True)]
    foot = f"{'':>{margin}} └{'─' * (across // 2)}"
    scale = f"{'':>{margin}}  1{last:>{across // 2 - 1}}"
    key = "loss by step" + ("; o: evaluation" if curve.eval_loss else "")
    return "\n".join([curve.words, *body, foot, scale, key])


def svg(curve: Curve, *, title: str = "Loss", width: int = 720, height: int = 360) -> str:
    """The curve as a picture that needs nothing else."""
    low, high, last = _bounds(curve)
    left, right, top, bottom = 64.0, width - 20.0, 48.0, height - 44.0

    def place(point: Point) -> str:
        x = left + (point[0] - 1) / max(1, last - 1) * (right - left)
        y = top + (high - point[1]) / (high - low) * (bottom - top)
        return f"{x:.1f},{y:.1f}"

    line = " ".join(map(place, curve.loss))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12" role="img" aria-label="{escape(curve.words)}">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="20" font-size="15" fill="#111827">{escape(title)}</text>',
        f'<text x="{left}" y="38" fill="{INK}">{escape(curve.words)}</text>',
        *_grid(low, high, last, (left, right, top, bottom)),
        f'<polyline fill="none" stroke="{LOSS_COLOUR}" stroke-width="2" points="{line}"/>',
    ]
    for point in curve.eval_loss:
        at_x, at_y = place(point).split(",")
        parts.append(
            f'<circle cx="{at_x}" cy="{at_y}" r="4" fill="{EVAL_COLOUR}"><title>{point[1]:.4g}</title></circle>'
        )
    names = [("training", LOSS_COLOUR)] + ([("evaluation", EVAL_COLOUR)] if curve.eval_loss else [])
    for index, (name, colour) in enumerate(names):
        x = right - 90 * (len(names) - index)
        parts.append(f'<circle cx="{x}" cy="16" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{x + 9}" y="20" fill="{INK}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _grid(low: float, high: float, last: int, box: tuple[float, float, float, float]) -> Iterable[str]:
    left, right, top, bottom = box
    for tick in range(TICKS + 1):
        y = top + (bottom - top) * tick / TICKS
        value = high - (high - low) * tick / TICKS
        yield f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#e5e7eb"/>'
        yield f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end" fill="{INK}">{value:.3g}</text>'
        x = left + (right - left) * tick / TICKS
        step = round(1 + (last - 1) * tick / TICKS)
        yield f'<text x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="middle" fill="{INK}">{step}</text>'
    yield f'<text x="{right}" y="{bottom + 34:.1f}" text-anchor="end" fill="{INK}">step</text>'


def _bounds(curve: Curve) -> tuple[float, float, int]:
    """Lowest and highest loss, never equal, and the last step; losses start at 0 where they come near it."""
    values = [value for _, value in (*curve.loss, *curve.eval_loss)]
    low, high = min(values), max(values)
    low = 0.0 if 0 <= low < high / 4 else low
    return low, high if high > low else low + 1.0, max(curve.loss[-1][0], *(step for step, _ in curve.eval_loss), 1)


def _between(start: tuple[int, int], end: tuple[int, int]) -> Sequence[tuple[int, int]]:
    """The dots of a line, both ends included."""
    count = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (round(start[0] + (end[0] - start[0]) * i / count), round(start[1] + (end[1] - start[1]) * i / count))
        for i in range(count + 1)
    ]


def _line(line: str) -> dict[str, Any]:
    """One line of the progress file or of a log, with whatever a log collector put before it."""
    start = line.find("{")
    try:
        found = json.loads(line[start:]) if start >= 0 else {}
    except json.JSONDecodeError:
        return {}
    is_ours = isinstance(found, dict) and found.get("event", Event.TUNING_PROGRESSED) == Event.TUNING_PROGRESSED
    return found if is_ours and isinstance(found.get("step"), int) else {}

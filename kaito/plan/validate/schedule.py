"""Five-field cron schedules (UTC) and durations as Go writes them: what is wrong with one, and when it comes due."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 6, DAYS),
)
PART = re.compile(r"(?P<all>[*?])(/(?P<every>\d+))?|(?P<from>\w+)(-(?P<to>\w+))?(/(?P<step>\d+))?")
UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
DURATION = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:h|ms|us|µs|ns|m|s)")


def schedule_error(text: str) -> str:
    """Empty where it is a schedule such as `0 2 * * 6`."""
    given = text.split()
    if len(given) != len(FIELDS):
        return f"expected 5 fields (minute, hour, day, month, day of the week), found {len(given)}"
    wrongs = (wrong for field, words in zip(FIELDS, given, strict=True) for wrong in _wrongs(*field, words))
    return next(wrongs, "") or _refusal(text)


def openings(text: str, now: datetime) -> tuple[datetime | None, datetime | None]:
    """The last time that the schedule came due, up to now, and the next one; None where there is none."""
    try:
        last = next(CronSim(_plain(text), now.astimezone(UTC) + timedelta(seconds=1), reverse=True), None)
        return last, next(CronSim(_plain(text), now.astimezone(UTC)), None)
    except CronSimError:
        return None, None


def _plain(text: str) -> str:
    return text.replace("?", "*")  # as Go's cron has it


def _refusal(text: str) -> str:
    """What only a look at all fields tells, such as the 31st of February."""
    try:
        CronSim(_plain(text), datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        return str(error)
    return ""


def duration_s(text: str) -> float | None:
    """Seconds of a duration such as `4h` or `1h30m`; None where it is none."""
    parts = DURATION.findall(text)
    if not parts or "".join(parts) != text:
        return None
    return sum(float(part.rstrip("hmsuµn")) * UNITS_S[part.lstrip("0123456789.")] for part in parts)


def _wrongs(name: str, least: int, most: int, words: tuple[str, ...], text: str) -> Iterator[str]:
    for part in text.split(","):
        found = PART.fullmatch(part.lower())
        if found is None:
            yield f"{name}: {part!r}: expected a number, a range, a step or *"
            return
        if (step := found["every"] or found["step"]) is not None and int(step) == 0:
            yield f"{name}: {part!r}: a step is at least 1"
        if found["all"]:
            continue
        ends = [_number(word, least, words) for word in (found["from"], found["to"] or found["from"])]
        if any(end is None or not least <= end <= most for end in ends):
            yield f"{name}: {part!r}: expected {least} to {most}" + (f" or {words[0]} to {words[-1]}" if words else "")
        elif ends[0] > ends[1]:  # type: ignore[operator]
            yield f"{name}: {part!r}: a range begins with the lower number"


def _number(word: str, least: int, words: tuple[str, ...]) -> int | None:
    if word in words:
        return words.index(word) + least
    return int(word) if word.isdecimal() else None

"""Ages as kubectl's tables show them: few characters, coarser the longer. Pure."""

from __future__ import annotations

from datetime import datetime

from kaito.clock import parse_rfc3339

MINUTE_S, HOUR_S, DAY_S, YEAR_S = 60, 3_600, 86_400, 365 * 86_400
# Up to so many seconds (exclusive): the larger unit, and whether the smaller one is shown beside it.
STEPS = (
    (2 * MINUTE_S, 1, "s", 0, ""),
    (10 * MINUTE_S, MINUTE_S, "m", 1, "s"),
    (3 * HOUR_S, MINUTE_S, "m", 0, ""),
    (8 * HOUR_S, HOUR_S, "h", MINUTE_S, "m"),
    (2 * DAY_S, HOUR_S, "h", 0, ""),
    (8 * DAY_S, DAY_S, "d", HOUR_S, "h"),
    (2 * YEAR_S, DAY_S, "d", 0, ""),
    (8 * YEAR_S, YEAR_S, "y", DAY_S, "d"),
)


def human(seconds: float) -> str:
    """`95s`, `4m10s`, `2h30m`, `3d`; the future is 0s."""
    total = max(0, int(seconds))
    for below, unit_s, unit, rest_s, rest in STEPS:
        if total < below:
            whole, left = divmod(total, unit_s)
            return f"{whole}{unit}" + (f"{left // rest_s}{rest}" if rest_s and left // rest_s else "")
    return f"{total // YEAR_S}y"


def since(time: object, now: datetime) -> str:
    """The age of a moment in a metav1.Time; `<unknown>` where there is none."""
    if not time:
        return "<unknown>"
    try:
        return human((now - parse_rfc3339(str(time))).total_seconds())
    except ValueError:
        return "<invalid>"

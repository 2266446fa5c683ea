"""The wall clock, injected wherever time is needed so that tests can run on virtual time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]  # aware, UTC


def wall_clock() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 (the one place)


def rfc3339(moment: datetime) -> str:
    """`2026-01-31T12:00:00Z`: metav1.Time, whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_rfc3339(text: str) -> datetime:
    """The moment that a metav1.Time or MicroTime names. Raises ValueError."""
    return datetime.fromisoformat(text).astimezone(UTC)

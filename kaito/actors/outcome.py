"""How a turn of a key ended, and so when it comes again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Settled:
    """All was done; the next event, or `recheck_s`, brings the key back.

    `is_held`: nothing was written, because all that there was to write tells of progress, which may wait.
    """

    writes: int = 0
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """Something stood in the way that may pass: back off and plan again, not before `after_s`."""

    error: Exception
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Terminal:
    """Sending the same again is pointless: wait until the root or one of its objects changes."""

    error: Exception


Outcome: TypeAlias = Settled | Retry | Terminal

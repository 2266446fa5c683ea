"""An id for every request: the client's own where it is decent, else one of ours."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from itertools import count

HEADER = "X-Request-Id"
# Unique without asking the system for chance each time: 80 bits of the process, and a number.
PROCESS = secrets.token_hex(10)
NUMBERS = count()
DECENT = re.compile(r"[A-Za-z0-9._:\-]{1,128}")


def request_id_of(headers: Mapping[str, str]) -> str:
    """For logs and the answer's header."""
    given = headers.get(HEADER)
    if given is not None and DECENT.fullmatch(given):
        return given
    return f"{PROCESS}{next(NUMBERS):012x}"

"""The MIG profiles that NVIDIA's GPUs know, and the memory of a slice."""

from __future__ import annotations

import re

_MEMORY_GIB = {
    1: (5, 6, 10, 12, 18, 20, 23, 24, 35, 45),
    2: (10, 12, 20, 24, 35, 45),
    3: (20, 40, 47, 48, 71, 90),
    4: (20, 24, 40, 47, 48, 71, 90),
    7: (40, 80, 94, 96, 141, 180),
}
MIG_PROFILES = frozenset(f"{slices}g.{gib}gb" for slices, sizes in _MEMORY_GIB.items() for gib in sizes)
_PROFILE = re.compile(r"\d+g\.(\d+)(?:\.\d+)?gb")


def mig_memory_gib(profile: str) -> int | None:
    """Whole GiB of one slice of this profile; None for what is no profile."""
    match = _PROFILE.fullmatch(profile)
    return int(match[1]) if match else None

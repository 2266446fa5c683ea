"""PodPart: what one feature adds to a server's pod. Parts are put together in order; names do not clash."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from kaito.api.meta import Json


@dataclass(frozen=True, slots=True)
class PodPart:
    """`mounts` and `env` go to the server's container; `claims` are a StatefulSet's volumeClaimTemplates."""

    volumes: tuple[Json, ...] = ()
    mounts: tuple[Json, ...] = ()
    env: tuple[Json, ...] = ()
    init_containers: tuple[Json, ...] = ()
    claims: tuple[Json, ...] = ()
    pull_secrets: tuple[str, ...] = ()


def together(parts: Iterable[PodPart]) -> PodPart:
    """All parts as one. What two parts add alike (a shared volume of credentials) is there once."""
    listed = list(parts)
    merged = {
        name: tuple({repr(item): item for part in listed for item in getattr(part, name)}.values())
        for name in (field.name for field in fields(PodPart))
    }
    return PodPart(**merged)

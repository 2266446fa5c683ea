"""The vocabulary between watch streams and the graph (kube-rs's words). Every match over `WatchEvent` is exhaustive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from kaito.api.meta import ObjectRef, ResourceVersion


@dataclass(frozen=True, slots=True)
class Init:
    """A (re)list begins: build a new set of objects beside the one in use."""


@dataclass(frozen=True, slots=True)
class InitApply:
    """One object of the list in progress."""

    ref: ObjectRef
    obj: Any


@dataclass(frozen=True, slots=True)
class InitDone:
    """The list is complete: swap it in; whatever is not in it has vanished."""

    resource_version: ResourceVersion


@dataclass(frozen=True, slots=True)
class Apply:
    """An object was added or changed."""

    ref: ObjectRef
    obj: Any


@dataclass(frozen=True, slots=True)
class Delete:
    """An object is gone; `obj` is its last state."""

    ref: ObjectRef
    obj: Any


WatchEvent: TypeAlias = Init | InitApply | InitDone | Apply | Delete

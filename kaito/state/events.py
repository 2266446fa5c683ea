"""The vocabulary between watch streams and the graph (kube-rs's words). Every match over `WatchEvent` is exhaustive."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from kaito.api.meta import ObjectRef, ResourceVersion


class Init(msgspec.Struct, frozen=True, gc=False):
    """A (re)list begins: build a new set of objects beside the one in use."""


class InitApply(msgspec.Struct, frozen=True, gc=False):
    """One object of the list in progress."""

    ref: ObjectRef
    obj: Any


class InitDone(msgspec.Struct, frozen=True, gc=False):
    """The list is complete: swap it in; whatever is not in it has vanished."""

    resource_version: ResourceVersion


class Apply(msgspec.Struct, frozen=True, gc=False):
    """An object was added or changed."""

    ref: ObjectRef
    obj: Any


class Delete(msgspec.Struct, frozen=True, gc=False):
    """An object is gone; `obj` is its last state."""

    ref: ObjectRef
    obj: Any


WatchEvent: TypeAlias = Init | InitApply | InitDone | Apply | Delete

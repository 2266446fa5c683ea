"""What equals the object before is held once: by the graph, by the memos of planners and by the journal.

A change of an object changes little of it; its labels, owner references, spec and most conditions come again as they
were. The store, the inputs that planners remember and the ring of the journal then share them, and to compare what is
the very same object costs nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kaito.api.workspace import RootObject


def reused(before: Any, after: Any) -> tuple[Any, bool]:
    """`after`, made of parts of `before` where they are equal, and whether anything is news.

    What differs in the resourceVersion alone is no news, as heartbeats of nodes are; every change of a root is. An
    object that has just been decoded is changed in place: nobody else has it yet, and it stays equal to what it was.
    """
    if type(before) is not type(after):
        return after, True
    if isinstance(after, RootObject):
        return _reused_root(before, after), True
    if not isinstance(after, msgspec.Struct):
        return after, True
    is_news = False
    for name in after.__struct_fields__:
        if name != "metadata":
            is_news |= _reuse_field(before, after, name)
    return after, _reuse_metadata(before.metadata, after.metadata) or is_news  # type: ignore[attr-defined]


def _reused_root(before: RootObject, after: RootObject) -> RootObject:
    """A spec is taken over where its generation is the same: Python calls 1 and true equal, the API server does not."""
    is_same_spec = before.metadata.generation == after.metadata.generation
    fields = after.model_fields_set if is_same_spec else {"metadata"}  # what is not set stays so
    return after.model_copy(update={name: _part(getattr(before, name), getattr(after, name)) for name in fields})


def _reuse_metadata(before: msgspec.Struct, after: msgspec.Struct) -> bool:
    """Whether more than the resourceVersion differs."""
    is_news = False
    for name in after.__struct_fields__:
        if name != "resource_version":
            is_news |= _reuse_field(before, after, name)
    return is_news


def _reuse_field(before: msgspec.Struct, after: msgspec.Struct, name: str) -> bool:
    """Whether the field differs."""
    old, new = getattr(before, name), getattr(after, name)
    if old is new:
        return False
    if old == new:
        msgspec.structs.force_setattr(after, name, old)
        return False
    msgspec.structs.force_setattr(after, name, _part(old, new))
    return True


def _part(old: Any, new: Any) -> Any:
    """The new value, made of parts of the old one where they are equal."""
    if old is new or old == new:
        return old
    if isinstance(new, tuple) and isinstance(old, tuple):
        return (*(_part(*pair) for pair in zip(old, new, strict=False)), *new[len(old) :])
    if isinstance(new, msgspec.Struct) and type(old) is type(new):
        for name in new.__struct_fields__:
            _reuse_field(old, new, name)
    return new

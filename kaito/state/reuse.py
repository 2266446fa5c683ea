"""What equals the object before is held once: by the graph, by the memos of planners and by the journal.

A change of an object changes little of it; its labels, owner references, spec and most conditions come again as they
were. The store, the inputs that planners remember and the ring of the journal then share them, and to compare what is
the very same object costs nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import force_setattr, replace

from kaito.api.meta import ObjectMeta
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
    metadata, is_news = _reused_metadata(before.metadata, after.metadata)  # type: ignore[attr-defined]
    force_setattr(after, "metadata", metadata)
    for name in after.__struct_fields__:  # whole fields: to look into them would cost more than the event itself
        if name != "metadata":
            old = getattr(before, name)
            if old == getattr(after, name):
                force_setattr(after, name, old)
            else:
                is_news = True
    return after, is_news


def _reused_root(before: RootObject, after: RootObject) -> RootObject:
    """A spec is taken over where its generation is the same: Python calls 1 and true equal, the API server does not."""
    found: dict[str, Any] = {"metadata": _reused_metadata(before.metadata, after.metadata)[0]}
    if before.metadata.generation == after.metadata.generation:
        for name in after.model_fields_set - found.keys():  # what is not set stays so
            old, new = getattr(before, name), getattr(after, name)
            found[name] = old if old == new else new
    return after.model_copy(update=found)


def _reused_metadata(before: ObjectMeta, after: ObjectMeta) -> tuple[ObjectMeta, bool]:
    """And whether more than the resourceVersion differs."""
    as_before = replace(before, resource_version=after.resource_version)
    if as_before == after:
        return as_before, False
    for name in after.__struct_fields__:
        old = getattr(before, name)
        if old == getattr(after, name):
            force_setattr(after, name, old)
    return after, True

"""Actions as JSON: for the journal and for `kaito plan --output json`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from kaito.api.meta import Json
from kaito.plan.actions import Action, Apply, Create, Delete, Emit, PatchRoot, PatchStatus, Read, Remember


def actions_json(actions: Iterable[Action]) -> list[Json]:
    """Each with the verb, the object that it concerns, the reason and the content."""
    return [_action_json(action) for action in actions]


def _action_json(action: Action) -> Json:
    match action:
        case Create(_, body, reason):
            return _of(action, str(action.ref), reason, body=body)
        case Apply(_, body, uid, reason):
            return _of(action, str(action.ref), reason, body=body, uid=uid)
        case PatchRoot(_, root, patch, uid, version, reason):
            return _of(action, str(root), reason, patch=patch, uid=uid, resourceVersion=version)
        case PatchStatus(_, root, status, uid, version, reason, _):
            return _of(action, str(root), reason, status=status, uid=uid, resourceVersion=version)
        case Delete(_, ref, uid, reason):
            return _of(action, str(ref), reason, uid=uid)
        case Emit(about, uid, type_, reason, message, _):
            return _of(action, str(about), reason, uid=uid, type=type_, message=message)
        case Read(_, key, "log", target, container, reason):
            return _of(action, str(target), reason, key=key, source="log", container=container)
        case Read(_, key, "hub", target, _, reason, model=model):
            return _of(action, str(target), reason, key=key, source="hub", model=model)
        case Read(_, key, "events", target, _, reason, uid=uid):
            return _of(action, str(target), reason, key=key, source="events", uid=uid)
        case Remember(root, key, text):
            return _of(action, str(root), "", key=key, text=text)
        case Read():
            raise AssertionError(f"no such source: {action.source}")
        case _:
            assert_never(action)


def _of(action: Action, ref: str, reason: str, **content: object) -> Json:
    return {"action": type(action).__name__, "ref": ref, "reason": reason, **content}

"""A small applier: carries a Plan out on a World as an API server would, for laws over plan ∘ apply."""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime
from typing import Any

from kaito.api.meta import Json, ObjectRef
from kaito.api.workloads import CONTROLLER_REVISION
from kaito.clock import rfc3339
from kaito.plan.actions import Action, Apply, Create, Delete, Emit, PatchRoot, PatchStatus, Plan, Read, Remember
from kaito.plan.workspace import plan_workspace
from kaito.settings import PlanSettings
from kaito.state.view import Answer
from tests.builders import START, World


class Applier:
    """Applies plans in order and keeps what it emitted. It raises where a real server would refuse."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.events: list[Emit] = []
        self._uids = 0

    def run(self, plan: Plan, now: datetime) -> None:
        self._moved: dict[tuple[ObjectRef, str], str] = {}  # our own writes of this plan move a version on
        for action in plan.actions:
            match action:
                case Create():
                    self._create(action, now)
                case Apply():
                    self._apply(action)
                case PatchRoot():
                    self._patch(action.root, action.patch, action.uid, action.resource_version)
                case PatchStatus():
                    self._patch(action.root, {"status": action.status}, action.uid, action.resource_version)
                case Delete():
                    self._delete(action, now)
                case Emit():
                    self.events.append(action)
                case Remember():
                    self.world.answers[action.root, action.key] = Answer(action.text, now)
                case Read():
                    self.world.answers[action.root, action.key] = Answer("Traceback\nValueError: no", now)

    def _create(self, action: Create, now: datetime) -> None:
        if action.ref in self.world.bodies:
            raise AssertionError(f"{action.ref} already exists")
        self._uids += 1
        body = deepcopy(action.body)
        body["metadata"] |= {
            "uid": f"uid-made-{self._uids}",
            "resourceVersion": "1",
            "generation": 1,
            "creationTimestamp": rfc3339(now),
        }
        self.world.put(body)

    def _apply(self, action: Apply) -> None:
        live = self.world.bodies[action.ref]
        assert live["metadata"]["uid"] == action.uid
        merged = merge(live, {key: value for key, value in action.body.items() if key not in ("apiVersion", "kind")})
        self.world.put(merged)

    def _patch(self, ref: ObjectRef, patch: Json, uid: str, version: str) -> None:
        live = self.world.bodies[ref]
        seen = live["metadata"]["resourceVersion"]
        assert (live["metadata"]["uid"], seen) == (uid, self._moved.get((ref, version), version)), "409"
        changed = merge(live, patch)
        changed["metadata"]["resourceVersion"] = self._moved[ref, version] = str(int(seen) + 1)
        self.world.put(changed)
        self._collect(ref)

    def _delete(self, action: Delete, now: datetime) -> None:
        live = self.world.bodies.get(action.ref)
        if live is None or live["metadata"]["uid"] != action.uid:
            return
        live["metadata"].setdefault("deletionTimestamp", rfc3339(now))
        self._collect(action.ref)

    def _collect(self, ref: ObjectRef) -> None:
        metadata = self.world.bodies[ref]["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            self.world.drop(ref)


def numbered(world: World, ref: ObjectRef, settings: PlanSettings) -> World:
    """The world in which the Workspace's spec has been written down as a revision, as on its first plan."""
    plan = plan_workspace(world, ref, START, settings)
    first = [a for a in plan.actions if isinstance(a, PatchRoot) or a_revision(a)]
    Applier(world).run(Plan(ref, tuple(first)), START)
    return world


def a_revision(action: Action) -> bool:
    return isinstance(action, Create) and action.kind == CONTROLLER_REVISION


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict) or not isinstance(target, dict):
        return deepcopy(patch)
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key, {}) if isinstance(value, dict) else None, value)
    return merged

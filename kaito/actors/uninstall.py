"""Uninstall: what an operator that is told to stop does first, when it is told because everything is being deleted.

It goes on for as long as roots wait for it, and lets go of what its rights hang on last (`plan.uninstall`). What is
looked at here is read and not watched: a minute of reading at the end is cheaper than years of watching roles.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import assert_never

import anyio

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION, NAMESPACE, definition_of
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.kube.client import KubeClient
from kaito.kube.errors import ApiError, Forbidden, NotFound, Unauthorized
from kaito.plan.uninstall import (
    Delete,
    Hang,
    Held,
    Release,
    Step,
    hanging_steps,
    held_of,
    release_steps,
    rights,
    unreleased,
    waiting,
)
from kaito.state.kinds import KINDS
from kaito.state.view import ClusterView

ROOT_KINDS: tuple[ResourceKind, ...] = tuple(row.kind for row in KINDS if row.is_root)
FIRST_LOOK_S = 5.0  # an API server that does not answer does not keep an ordinary stop
WITHIN_S = 90.0  # the token of a deleted account is good for 60 s, and an API server believes it for 10 s more
TURN_S = 0.5
HANG_S, HANG_RETRY_S = 60.0, 1.0
WRITE_S = 10.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What is being deleted. `leaving`: kinds of roots; `is_namespace_leaving`: the operator's own namespace."""

    held: tuple[Held, ...]
    leaving: tuple[ResourceKind, ...]
    is_namespace_leaving: bool

    @property
    def waiting(self) -> tuple[Held, ...]:
        """What waits for our finalizer to be taken off."""
        return waiting(self.held)

    @property
    def is_uninstall(self) -> bool:
        return self.is_namespace_leaving or bool(self.leaving or self.waiting)


class Uninstall:
    """`prepare` is called once, as the leader, before anything is released: nothing may depend on us any more."""

    def __init__(
        self,
        client: KubeClient,
        view: ClusterView,
        *,
        namespace: str,
        may_write: Callable[[float], bool],
        prepare: Callable[[], Awaitable[None]],
        began: Callable[[Scene], None] = lambda _: None,
        on_trouble: Callable[[ApiError], None] = lambda _: None,
    ) -> None:
        self._client, self._view, self._namespace = client, view, namespace
        self._may_write, self._prepare, self._began, self._on_trouble = may_write, prepare, began, on_trouble
        self._is_prepared = False

    async def hang(self) -> None:
        """Keeps the operator's rights hung on its Lease (see `plan.uninstall`), for as long as it leads."""
        while True:
            pause_s = HANG_RETRY_S
            try:
                while self._may_write(anyio.current_time() + WRITE_S):
                    steps = hanging_steps(await self._held())
                    if not steps:
                        pause_s = HANG_S  # the roles may be made anew while we run
                        break
                    for step in steps:
                        await self._take(step)
            except ApiError as error:
                self._on_trouble(error)
            await anyio.sleep(pause_s)

    async def run(self, *, within_s: float = WITHIN_S) -> tuple[ObjectRef, ...] | None:
        """Returns when nothing waits for us any more or the time is over, with what is left; None: no uninstall."""
        scene = await self._first_look()
        if scene is None or not scene.is_uninstall:
            return None
        self._began(scene)
        with anyio.move_on_after(within_s):
            while not self._is_over(scene):
                try:
                    scene = await self._turn()
                except Unauthorized:  # our account is gone: nothing is ours to do any more
                    return unreleased(self._view, scene.leaving)
                except ApiError as error:
                    self._on_trouble(error)
                await anyio.sleep(TURN_S)
        return (*unreleased(self._view, scene.leaving), *(each.ref for each in scene.waiting))

    async def _first_look(self) -> Scene | None:
        """None where the API server does not tell in time what is being deleted."""
        with anyio.move_on_after(FIRST_LOOK_S):
            while True:
                try:
                    return await self._look()
                except Unauthorized:
                    return None
                except ApiError as error:
                    self._on_trouble(error)
                await anyio.sleep(TURN_S)
        return None

    def _is_over(self, scene: Scene) -> bool:
        return not scene.waiting and self._are_roots_released(scene)

    async def _turn(self) -> Scene:
        """Looks, and does what is to be done now."""
        scene = await self._look()
        if not self._may_write(anyio.current_time() + WRITE_S):
            return scene
        if not self._is_prepared:
            await self._prepare()
            self._is_prepared = True
        if self._are_roots_released(scene):
            for step in release_steps(scene.held):
                await self._take(step)
        return scene

    async def _look(self) -> Scene:
        space = await self._read(NAMESPACE, NAMESPACE.ref("", self._namespace))
        is_leaving = space is not None and _is_leaving(space)
        held = await self._held(is_namespace_leaving=is_leaving)
        kinds = [kind for kind in ROOT_KINDS if _is_leaving(await self._definition(kind))]
        return Scene(held, tuple(kinds), is_leaving)

    async def _held(self, *, is_namespace_leaving: bool = False) -> tuple[Held, ...]:
        found = [(kind, ref, await self._read(kind, ref)) for kind, ref in rights(self._namespace)]
        return tuple(
            held_of(kind, ref, body, is_namespace_leaving=is_namespace_leaving) for kind, ref, body in found if body
        )

    def _are_roots_released(self, scene: Scene) -> bool:
        """Whether our watches have heard of each deletion too, and no root waits for us."""
        is_heard = all(self._view.is_leaving(kind) for kind in scene.leaving)
        return is_heard and not unreleased(self._view, scene.leaving)

    async def _definition(self, kind: ResourceKind) -> Json:
        return await self._read(CUSTOM_RESOURCE_DEFINITION, definition_of(kind)) or {}

    async def _read(self, kind: ResourceKind, ref: ObjectRef) -> Json | None:
        """None where it is not there, or not ours to know of."""
        with suppress(NotFound, Forbidden):
            return await self._client.read(kind, ref)
        return None

    async def _take(self, step: Step) -> None:
        held = step.held
        with suppress(NotFound), anyio.move_on_after(WRITE_S):
            match step:
                case Delete(_, propagation):
                    await self._client.delete(held.kind, held.ref, uid=held.uid, propagation=propagation)
                case Release() | Hang():
                    await self._client.merge_patch(held.kind, held.ref, step.patch)
                case _:
                    assert_never(step)


def _is_leaving(body: Json) -> bool:
    return bool((body.get("metadata") or {}).get("deletionTimestamp"))

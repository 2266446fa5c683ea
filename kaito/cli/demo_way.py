"""The demo's way up: objects created, and each one's stages shown until it is ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

import anyio

from kaito.api.core import SERVICE
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.ragengine import RAGENGINE
from kaito.api.workspace import WORKSPACE
from kaito.cli.demo_screen import Screen
from kaito.cli.demo_view import chain, has_failed, is_ready, stages_of
from kaito.clock import wall_clock
from kaito.kube.client import Scope
from kaito.local.cluster import Cluster
from kaito.local.kubelet.service_proxy import address_of
from kaito.local.robots.watching import follow
from kaito.state.events import Apply, Delete, InitApply, WatchEvent

KINDS = {kind.kind: kind for kind in (WORKSPACE, RAGENGINE)}  # in the order in which the demo waits for them
DEADLINE_S = 170.0  # for each: the promise is three minutes for everything that a Workspace needs
FAILED_GRACE_S = 20.0  # a failure that nobody mends in so long is one
ADDRESS_TIMEOUT_S = 10.0


class NotReady(Exception):
    """An object has not come up: why, as the chain of its causes."""


@dataclass(slots=True)
class Latest:
    """One object as the watch last told it; `made`: as it was created."""

    kind: ResourceKind
    made: Json
    body: Json = field(default_factory=dict)
    changed: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self.body = self.made

    @property
    def ref(self) -> ObjectRef:
        return self.kind.ref(self.made["metadata"]["namespace"], self.made["metadata"]["name"])

    def take(self, _: ResourceKind, event: WatchEvent) -> None:
        match event:
            case InitApply(ref, obj) | Apply(ref, obj) if ref == self.ref:
                self.body = obj | {"kind": self.kind.kind}  # the items of a list need not say it
            case Delete(ref, _) if ref == self.ref:
                self.body = {}
            case _:
                return
        changed, self.changed = self.changed, anyio.Event()
        changed.set()


async def bring_up(cluster: Cluster, bodies: Sequence[Json], screen: Screen) -> list[Json]:
    """Creates all objects, then shows the way of one after the other until it is ready. Raises NotReady."""
    found: list[Latest] = []
    for body in sorted(bodies, key=lambda one: list(KINDS).index(one["kind"])):
        kind, namespace = KINDS[body["kind"]], body["metadata"].get("namespace") or "default"
        found.append(Latest(kind, await cluster.client.create(kind, namespace, body)))
    trouble = ""
    async with anyio.create_task_group() as tasks:
        for one in found:
            scope = Scope(one.ref.namespace)
            tasks.start_soon(partial(follow, cluster.client, one.kind, one.take, rng=Random(), scope=scope))
        for one in found:
            if len(found) > 1:
                screen.say(f"\n{one.ref.kind} {one.ref.name}")
            if trouble := await _show_way(one, screen):
                break
        tasks.cancel_scope.cancel()
    if trouble:
        raise NotReady(trouble)
    return [one.body for one in found]


async def _show_way(one: Latest, screen: Screen) -> str:
    """Why it has not become ready; empty when it has."""
    with screen.live(lambda: stages_of(one.body or one.made)):
        came_up = await _wait_ready(one, screen)
    if came_up:
        return ""
    words = "\n".join(chain(one.body, wall_clock())) if one.body else "it was deleted"
    return f"the {one.ref.kind} is not ready\n{words}"


async def _wait_ready(one: Latest, screen: Screen) -> bool:
    """Whether it is ready, within the deadline, and within the grace once it has failed."""
    deadline, failed_until = anyio.current_time() + DEADLINE_S, float("inf")
    while not is_ready(one.body):
        changed = one.changed
        screen.show()
        failing = has_failed(one.body)
        failed_until = min(failed_until, anyio.current_time() + FAILED_GRACE_S) if failing else float("inf")
        with anyio.move_on_at(min(deadline, failed_until)) as scope:
            await changed.wait()
        if scope.cancelled_caught:
            return False
    screen.show()
    return True


async def service_address(cluster: Cluster, root: Json) -> str:
    """Where the Service of the root's name answers on this machine. Raises NotReady."""
    meta = root["metadata"]
    with anyio.move_on_after(ADDRESS_TIMEOUT_S):
        while True:
            service = await cluster.client.read(SERVICE, SERVICE.ref(meta["namespace"], meta["name"]))
            if address := address_of(service):
                return address
            await anyio.sleep(0.1)
    raise NotReady(f"Service {meta['name']} listens nowhere on this machine")

"""RobotCluster: the API server core in process, with shortcuts for tests of robots."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime

import anyio

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION
from kaito.api.crds import node_claim_crd, ragengine_crd, workspace_crd
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.local.apiserver import ApiServer, Commit
from kaito.local.client import LocalClient


class CoreCluster(LocalClient):
    """`wake` is set at every change, and then another."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        count = itertools.count()
        server = ApiServer(now=now, new_uid=lambda: f"uid-{next(count)}", has_loopback_endpoints=True)
        server.start()
        definitions = server.registry.find("apiextensions.k8s.io", "v1", CUSTOM_RESOURCE_DEFINITION.plural)
        for crd in (workspace_crd(), ragengine_crd(), node_claim_crd()):
            server.create(definitions, "", crd)
        super().__init__(server)
        self.now = now
        self.wake = anyio.Event()
        self.creates: list[ObjectRef] = []
        self.commits: list[Commit] = []
        server.on_commit = self._committed

    def _committed(self, commit: Commit) -> None:
        self.commits.append(commit)
        wake, self.wake = self.wake, anyio.Event()
        wake.set()

    @property
    def writes(self) -> int:
        return len(self.commits)

    def store(self, kind: ResourceKind) -> dict[ObjectRef, Json]:
        found = self.server.store.objects.get((kind.group, kind.plural), {})
        return {kind.ref(*place): obj for place, obj in found.items()}

    def get(self, kind: ResourceKind, name: str, namespace: str = "default") -> Json:
        return self.store(kind)[kind.ref(namespace, name)]

    def all(self, kind: ResourceKind) -> list[Json]:
        return [obj for _, obj in sorted(self.store(kind).items())]

    async def create(
        self, kind: ResourceKind, namespace: str, body: Json, *, subresource: str = "", name: str = ""
    ) -> Json:
        made = await super().create(kind, namespace, body, subresource=subresource, name=name)
        if not subresource:
            self.creates.append(kind.ref(namespace, made["metadata"]["name"]))
        return made

    async def edit(self, kind: ResourceKind, name: str, patch: Json, namespace: str = "default") -> Json:
        """What a user does."""
        status = {"status": patch.pop("status")} if "status" in patch else None
        ref = kind.ref(namespace, name)
        made = await self.merge_patch(kind, ref, patch)
        return await self.merge_patch(kind, ref, status, subresource="status") if status else made

"""RealParts: what a local cluster really is made of."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import anyio.abc

from kaito.clock import Clock, wall_clock
from kaito.kube.client import KubeClient
from kaito.local.apiserver import ApiServer
from kaito.local.client import LocalClient, open_core
from kaito.local.cluster import Runtime, Served
from kaito.local.cluster_settings import ClusterSettings
from kaito.local.http import serve
from kaito.local.http.built_in_types import schema_of
from kaito.local.persist import Change, State
from kaito.settings import PlanSettings

OPERATOR_NAMESPACE = PlanSettings().release_namespace

Operate: TypeAlias = Callable[..., Coroutine[Any, Any, None]]  # (kubeconfig, *, task_status)


@dataclass(frozen=True, slots=True)
class RealParts:
    """`operate` runs the operator: it is a layer above, so whoever puts the cluster together hands it in.

    `settings` are those of the operator: objects are admitted by its rules under them.
    """

    operate: Operate
    settings: PlanSettings = field(default_factory=PlanSettings)

    def open_core(
        self, settings: ClusterSettings, state: State, record: Callable[[list[Change]], None], now: Clock
    ) -> LocalClient:
        client = open_core(
            state,
            record,
            now=now,
            new_uid=_new_uid,
            emulate=(1, settings.minor),
            schemas=schema_of,
            settings=self.settings,
        )
        _make_namespace(client.server, OPERATOR_NAMESPACE)
        return client

    def serve(
        self, settings: ClusterSettings, client: KubeClient, pods: Runtime
    ) -> AbstractAsyncContextManager[Served]:
        assert isinstance(client, LocalClient)
        return serve(client.server, pods, port=settings.port, now=wall_clock, rng=Random())

    async def run_operator(self, kubeconfig: Path, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        await self.operate(kubeconfig, task_status=task_status)


def _make_namespace(server: ApiServer, name: str) -> None:
    """Where the operator's Lease is; in a real cluster the chart is installed there."""
    namespaces = server.registry.find("", "v1", "namespaces")
    if server.store.get(namespaces.key, ("", name)) is None:
        server.create(namespaces, "", {"metadata": {"name": name}}, field_manager="kaito-local")


def _new_uid() -> str:
    return str(uuid.uuid4())  # noqa: TID251 (the source that others are given)

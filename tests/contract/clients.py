"""The clients that the contract suite runs on, by name."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION
from kaito.api.crds import workspace_crd
from kaito.api.workspace import WORKSPACE
from kaito.clock import wall_clock
from kaito.kube.client import KubeClient
from kaito.kube.errors import AlreadyExists
from kaito.local.apiserver import ApiServer
from kaito.local.client import LocalClient

EMULATED = {"local-1.20": (1, 20), "local-1.36": (1, 36)}
SERVED_WITHIN_S = 30.0


def local_client(emulate: tuple[int, int]) -> LocalClient:
    """An API server of its own, in process."""
    count = itertools.count()
    server = ApiServer(now=wall_clock, new_uid=lambda: f"00000000-0000-0000-0000-{next(count):012}", emulate=emulate)
    server.start()
    return LocalClient(server)


@asynccontextmanager
async def open_client(name: str, kubeconfig: Path | None) -> AsyncIterator[KubeClient]:
    """A client whose server has the Workspace CRD."""
    if name in EMULATED:
        client: KubeClient = local_client(EMULATED[name])
    else:
        from kaito.kube.adapter import KubernetesAsyncioClient

        assert kubeconfig is not None
        client = await KubernetesAsyncioClient.connect(kubeconfig)
    try:
        with suppress(AlreadyExists):
            await client.create(CUSTOM_RESOURCE_DEFINITION, "", workspace_crd())
        with anyio.fail_after(SERVED_WITHIN_S):
            while not (await client.discover()).has(WORKSPACE):  # noqa: ASYNC110 (discovery cannot be watched)
                await anyio.sleep(0.1)
        yield client
    finally:
        await client.aclose()

"""The clients that the contract suite runs on, by name."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from random import Random

import anyio

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION
from kaito.api.crds import workspace_crd
from kaito.api.meta import Json
from kaito.api.workspace import WORKSPACE
from kaito.clock import wall_clock
from kaito.kube.adapter import KubernetesAsyncioClient
from kaito.kube.client import KubeClient
from kaito.kube.errors import AlreadyExists
from kaito.local.apiserver import ApiServer, Resource
from kaito.local.client import LocalClient
from kaito.local.cluster import Runtime
from kaito.local.http import serve
from kaito.local.http.built_in_types import schema_of
from kaito.local.kubeconfig import write_kubeconfig

EMULATED = {"local-1.20": (1, 20), "local-1.36": (1, 36)}
OVER_HTTP = {"http-1.20": (1, 20), "http-1.36": (1, 36)}
SERVED_WITHIN_S = 30.0


def local_client(
    emulate: tuple[int, int], *, schemas: Callable[[Resource], Json | None] = lambda _: None
) -> LocalClient:
    """An API server of its own, in process."""
    count = itertools.count()
    server = ApiServer(
        now=wall_clock,
        new_uid=lambda: f"00000000-0000-0000-0000-{next(count):012}",
        emulate=emulate,
        schemas=schemas,
    )
    server.start()
    return LocalClient(server)


@asynccontextmanager
async def served_client(emulate: tuple[int, int], folder: Path) -> AsyncIterator[KubernetesAsyncioClient]:
    """The same over HTTPS, through the adapter."""
    core = local_client(emulate, schemas=schema_of)
    async with serve(core.server, Runtime(), port=0, now=wall_clock, rng=Random()) as served:
        kubeconfig = folder / "kubeconfig"
        write_kubeconfig(kubeconfig, server=served.url, token=served.token, ca_pem=served.ca_pem)
        client = await KubernetesAsyncioClient.connect(kubeconfig)
        try:
            yield client
        finally:
            await client.aclose()


@asynccontextmanager
async def open_client(name: str, kubeconfig: Path | None, folder: Path) -> AsyncIterator[KubeClient]:
    """A client whose server has the Workspace CRD. `folder`: for what it has to write."""
    async with AsyncExitStack() as stack:
        client: KubeClient
        if name in EMULATED:
            client = local_client(EMULATED[name])
        elif name in OVER_HTTP:
            client = await stack.enter_async_context(served_client(OVER_HTTP[name], folder))
        else:
            assert kubeconfig is not None
            client = await KubernetesAsyncioClient.connect(kubeconfig)
        stack.push_async_callback(client.aclose)
        with suppress(AlreadyExists):
            await client.create(CUSTOM_RESOURCE_DEFINITION, "", workspace_crd())
        with anyio.fail_after(SERVED_WITHIN_S):
            while not (await client.discover()).has(WORKSPACE):  # noqa: ASYNC110 (discovery cannot be watched)
                await anyio.sleep(0.1)
        yield client

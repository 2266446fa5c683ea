"""A served core for the tests of the HTTP face, and one who asks it."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp

from kaito.api.crds import workspace_crd
from kaito.api.meta import Json
from kaito.clock import wall_clock
from kaito.local.apiserver import ApiServer
from kaito.local.cluster import Served
from kaito.local.http import serve
from kaito.local.http.built_in_types import schema_of
from kaito.local.kubelet.logs import ContainerLog, LogRequest

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


@dataclass
class SomePods:
    """A kubelet's side: where ports listen and what was written."""

    places: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    logs: dict[str, ContainerLog] = field(default_factory=dict)

    def resolve(self, namespace: str, pod: str, port: int) -> tuple[str, int] | None:
        return self.places.get((pod, port))

    def log(self, pod: Json, container: str, request: LogRequest, *, previous: bool = False) -> AsyncIterator[bytes]:
        if container not in self.logs or previous:
            raise LookupError(f"no log of {container}")
        return self.logs[container].stream(request)


@dataclass
class Face:
    core: ApiServer
    served: Served
    session: aiohttp.ClientSession
    pods: SomePods

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and decoded body (text where it is no JSON)."""
        async with self.session.request(method, self.served.url + path, json=body, headers=headers) as found:
            text = await found.text()
            return found.status, (await found.json(content_type=None)) if text.startswith(("{", "[")) else text

    def request(self, method: str, path: str, **more: Any) -> Any:
        return self.session.request(method, self.served.url + path, **more)


@asynccontextmanager
async def face(emulate: tuple[int, int] = (1, 36)) -> AsyncIterator[Face]:
    count = itertools.count()
    core = ApiServer(now=wall_clock, new_uid=lambda: f"uid-{next(count)}", emulate=emulate, schemas=schema_of)
    core.start()
    definitions = core.registry.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    core.create(definitions, "", workspace_crd())
    pods = SomePods()
    async with serve(core, pods, port=0, now=wall_clock, rng=Random(1)) as served:
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=served.ca_pem))
        headers = {"Authorization": f"Bearer {served.token}"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            yield Face(core, served, session, pods)


def config_map(name: str, **more: Any) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} | more


def workspace(name: str, **resource: Any) -> Json:
    found = {"instanceType": "Standard_NC24ads_A100_v4", "labelSelector": {"matchLabels": {"apps": "phi"}}} | resource
    return {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "metadata": {"name": name},
        "resource": found,
        "inference": {"preset": {"name": "phi-3.5-mini-instruct"}},
    }

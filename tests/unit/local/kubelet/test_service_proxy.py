"""Services answer on loopback, from the pods behind them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any

import anyio
import anyio.abc
import pytest

from kaito.api.core import ENDPOINTS, SERVICE
from kaito.api.meta import Json
from kaito.local.kubelet.service_proxy import ServiceProxy, address_of
from kaito.local.robots.controller import Drive
from kaito.local.robots.settings import RobotSettings
from kaito.local.robots.watching import follow
from kaito.local.robots.world import World
from tests.unit.local.robots.cluster import CoreCluster

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="127/8 is loopback as a whole on Linux")


@asynccontextmanager
async def proxied(cluster: CoreCluster) -> AsyncIterator[ServiceProxy]:
    world = World(cluster, now=cluster.now, rng=Random(1), kinds=ServiceProxy.kinds)
    proxy = ServiceProxy(world, RobotSettings(), lambda *_: None)
    drive = Drive(proxy, world, concurrency=4, is_strict=True)
    async with anyio.create_task_group() as tasks:
        await tasks.start(proxy.run)
        tasks.start_soon(drive.run)
        for kind in ServiceProxy.kinds:
            tasks.start_soon(partial(follow, cluster, kind, world.receive, rng=Random(1)))
        yield proxy
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def echoing(prefix: bytes) -> AsyncIterator[int]:
    """A server that answers what it is told, once the other side has said all, after a prefix."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            told = b"".join([data async for data in stream])
            await stream.send(prefix + told)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()
    await listener.aclose()


def service(**spec: Any) -> Json:
    ports = [{"name": "http", "port": 80, "targetPort": 5000}]
    return {
        "metadata": {"name": "phi", "namespace": "default"},
        "spec": {"ports": ports, "clusterIP": "10.0.0.7"} | spec,
    }


def endpoints(*ports: int) -> Json:
    subsets = [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"name": "http", "port": port}]} for port in ports]
    return {"metadata": {"name": "phi", "namespace": "default"}, "subsets": subsets}


async def ask(address: str, text: bytes) -> bytes:
    host, _, port = address.partition(":")
    with anyio.fail_after(10):
        async with await anyio.connect_tcp(host, int(port)) as stream:
            await stream.send(text)
            await stream.send_eof()
            return b"".join([data async for data in stream])


async def address(cluster: CoreCluster) -> str:
    with anyio.fail_after(10):
        while not (found := address_of(cluster.get(SERVICE, "phi"))):
            await cluster.wake.wait()
    return found


async def test_a_service_forwards_to_the_pods_behind_it_in_turn():
    cluster = CoreCluster(lambda: datetime.now(UTC))
    async with echoing(b"a:") as first, echoing(b"b:") as second, proxied(cluster):
        await cluster.create(ENDPOINTS, "default", endpoints(first, second))
        await cluster.create(SERVICE, "default", service())
        where = await address(cluster)
        assert where.startswith("127.89.")
        answers = sorted([await ask(where, b"hello") for _ in range(4)])
        assert answers == [b"a:hello", b"a:hello", b"b:hello", b"b:hello"]


async def test_a_pod_that_does_not_answer_is_passed_over():
    cluster = CoreCluster(lambda: datetime.now(UTC))
    async with echoing(b"gone:") as gone:
        pass
    async with echoing(b"a:") as alive, proxied(cluster):
        await cluster.create(ENDPOINTS, "default", endpoints(gone, alive))
        await cluster.create(SERVICE, "default", service())
        where = await address(cluster)
        assert [await ask(where, b"x") for _ in range(2)] == [b"a:x", b"a:x"]


async def test_a_service_without_pods_closes_the_connection():
    cluster = CoreCluster(lambda: datetime.now(UTC))
    async with proxied(cluster):
        await cluster.create(SERVICE, "default", service())
        assert await ask(await address(cluster), b"") == b""


async def test_a_loopback_cluster_ip_is_where_it_listens_and_a_deleted_service_stops():
    cluster = CoreCluster(lambda: datetime.now(UTC))
    async with echoing(b"a:") as port, proxied(cluster):
        await cluster.create(ENDPOINTS, "default", endpoints(port))
        ports = [{"name": "http", "port": 18_080}, {"name": "ray", "port": 18_081}]
        made = await cluster.create(SERVICE, "default", service(clusterIP="127.89.200.1", ports=ports))
        where = await address(cluster)
        assert where == "127.89.200.1:18080" and address_of(cluster.get(SERVICE, "phi"), "ray") == "127.89.200.1:18081"
        assert await ask(where, b"x") == b"a:x"
        await cluster.delete(SERVICE, SERVICE.ref("default", "phi"), uid=made["metadata"]["uid"])
        with anyio.fail_after(10):
            while True:
                try:
                    await ask(where, b"x")
                except OSError:
                    break


async def test_a_headless_service_listens_nowhere():
    cluster = CoreCluster(lambda: datetime.now(UTC))
    async with proxied(cluster):
        await cluster.create(SERVICE, "default", service(clusterIP="None"))
        await anyio.wait_all_tasks_blocked()
        assert address_of(cluster.get(SERVICE, "phi")) == ""


async def test_an_address_that_a_process_was_told_is_where_the_service_listens_when_it_comes_and_comes_again():
    cluster = CoreCluster(lambda: datetime.now(UTC))
    async with echoing(b"a:") as port, proxied(cluster) as proxy:
        told = await proxy.address("default", "phi", 80, may_come=True)
        assert await ask(told, b"") == b""  # nobody is behind it yet
        await cluster.create(ENDPOINTS, "default", endpoints(port))
        for _ in range(2):
            made = await cluster.create(SERVICE, "default", service())
            assert await address(cluster) == told
            assert await ask(told, b"x") == b"a:x"
            await cluster.delete(SERVICE, SERVICE.ref("default", "phi"), uid=made["metadata"]["uid"])
            await anyio.wait_all_tasks_blocked()
            assert await ask(told, b"") == b""


async def test_a_port_that_a_service_does_not_have_and_a_host_that_may_be_elsewhere_have_no_address():
    cluster = CoreCluster(lambda: datetime.now(UTC))
    async with proxied(cluster) as proxy:
        await cluster.create(SERVICE, "default", service())
        where = await address(cluster)
        assert await proxy.address("default", "phi", 80, may_come=False) == where
        assert await proxy.address("default", "phi", 81, may_come=True) == ""
        assert await proxy.address("com", "example", 80, may_come=False) == ""

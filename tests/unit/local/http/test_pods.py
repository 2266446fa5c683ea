"""Logs of pods, and the proxy to what they answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from kaito.clock import wall_clock
from kaito.local.http import pod_endpoints
from kaito.local.kubelet.logs import ContainerLog
from tests.unit.local.http.face import Face, face

PODS = "/api/v1/namespaces/default/pods"
PROXY = "/api/v1/namespaces/default/services/web:80/proxy"


async def make_pod(api: Face, *containers: str) -> None:
    ports = [{"name": "http", "containerPort": 5000}]
    spec = {"containers": [{"name": name, "image": "i", "ports": ports} for name in containers]}
    assert (await api.ask("POST", PODS, {"metadata": {"name": "p"}, "spec": spec}))[0] == 201


async def test_a_log_is_read_from_its_end_and_followed_until_the_container_ends(tmp_path: Path) -> None:
    log = ContainerLog(tmp_path / "0.log", wall_clock)
    log.feed(b"one\ntwo\nthree\n")
    async with face() as api:
        api.pods.logs["c"] = log
        await make_pod(api, "c")
        assert await api.ask("GET", f"{PODS}/p/log?tailLines=2") == (200, "two\nthree\n")
        assert await api.ask("GET", f"{PODS}/p/log?limitBytes=5") == (200, "one\nt")
        async with api.request("GET", f"{PODS}/p/log?follow=true&tailLines=1") as found:
            assert await found.content.readline() == b"three\n"
            log.feed(b"four\n")
            assert await found.content.readline() == b"four\n"
            log.close()
            assert await found.content.read() == b""


async def test_what_log_is_not_there_is_said(tmp_path: Path) -> None:
    async with face() as api:
        await make_pod(api, "a", "b")
        for query, words in (
            ("", "a container name must be specified for pod p, choose one of: [a b]"),
            ("?container=x", "container x is not valid for pod p"),
            ("?container=a", "no log of a"),
            ("?container=a&tailLines=x", "tailLines"),
        ):
            status, found = await api.ask("GET", f"{PODS}/p/log{query}")
            assert (status, words in found["message"]) == (400, True)
        assert (await api.ask("GET", f"{PODS}/q/log"))[0] == 404


def _app() -> web.Application:
    async def echo(request: web.Request) -> web.Response:
        seen = {name: request.headers.get(name, "") for name in ("Authorization", "X-Mine")}
        return web.json_response({"path": request.raw_path, "body": await request.text(), **seen}, status=202)

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await anyio.sleep_forever()
        return response

    app = web.Application()
    app.router.add_get("/stream", slow)
    app.router.add_route("*", "/{path:.*}", echo)
    return app


@asynccontextmanager
async def with_service() -> AsyncIterator[Face]:
    async with TestServer(_app()) as server, face() as api:
        await make_pod(api, "c")
        api.pods.places[("p", 5000)] = (str(server.host), int(server.port or 0))
        ports = [{"port": 80, "name": "http", "targetPort": "http"}, {"port": 81, "name": "other"}]
        await api.ask(
            "POST", "/api/v1/namespaces/default/services", {"metadata": {"name": "web"}, "spec": {"ports": ports}}
        )
        address = {"ip": "10.1.2.3", "targetRef": {"kind": "Pod", "name": "p"}}
        subsets = [{"addresses": [address], "ports": [{"name": "http", "port": 5000}]}]
        await api.ask("POST", "/api/v1/namespaces/default/endpoints", {"metadata": {"name": "web"}, "subsets": subsets})
        yield api


@pytest.mark.parametrize("base", [PROXY, PROXY.replace(":80", ":http"), f"{PODS}/p:5000/proxy", f"{PODS}/p/proxy"])
async def test_the_proxy_passes_requests_on_without_our_token(base: str) -> None:
    async with with_service() as api:
        async with api.request("POST", f"{base}/v1/a%2Fb?c=d%26", data="hello", headers={"X-Mine": "yes"}) as found:
            assert found.status == 202
            assert await found.json() == {
                "path": "/v1/a%2Fb?c=d%26",
                "body": "hello",
                "Authorization": "",
                "X-Mine": "yes",
            }


async def test_a_streamed_answer_comes_as_it_is_written() -> None:
    async with with_service() as api:
        async with api.request("GET", f"{PROXY}/stream") as found:
            assert await found.content.readline() == b"data: 1\n"


async def test_what_the_proxy_does_not_reach_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_endpoints, "PROXY_BODY_BYTES_MAX", 3)
    async with with_service() as api:
        for path, status, words in (
            (PROXY.replace(":80", ":82"), 503, "no port '82' found for service \"web\" (it has http=80, other=81)"),
            (PROXY.replace(":80", ":81"), 503, 'no endpoints available for service "web"'),
            (PROXY.replace("web", "none"), 404, 'services "none" not found'),
            (f"{PODS}/p:1/proxy", 503, "does not run on this machine"),
            ("/api/v1/nodes/n/proxy", 404, "could not find"),
        ):
            found = await api.ask("GET", path)
            assert (found[0], words in found[1]["message"]) == (status, True), found

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"more"

        for body in ("more", endless()):
            async with api.request("POST", PROXY, data=body) as refused:
                assert refused.status == 413
        api.pods.places.clear()
        status, found = await api.ask("GET", PROXY)
        assert status == 503 and "no process of this machine listens at 10.1.2.3:5000" in found["message"]

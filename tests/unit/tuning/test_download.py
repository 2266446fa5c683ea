"""Downloads from a real server on this machine; what would be internal there is allowed by name in most tests."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from kaito.addresses import refused_address, refused_host
from kaito.backoff import Backoff
from kaito.tuning.download import Source, download_all, parse_source
from kaito.tuning.errors import ConfigError, TuningError
from kaito.tuning.routes import Limits

BODY = bytes(range(256)) * 4096
OPEN = Limits(1 << 30, is_refused=lambda _: "", is_host_refused=lambda _: "")


class Server:
    """Serves BODY; breaks off as it is told, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.base = URL()
        self.ranges: list[str] = []
        self.break_offs = 0
        self.etag = '"one"'
        self.statuses: list[int] = []

    async def file(self, request: web.Request) -> web.StreamResponse:
        asked = request.headers.get("Range", "")
        self.ranges.append(asked)
        if self.statuses:
            return web.Response(status=self.statuses.pop(0))
        start = 0
        if asked and request.headers.get("If-Range") == self.etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        response = web.StreamResponse(status=206 if start else 200, headers={"ETag": self.etag})
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
        response.content_length = len(BODY) - start
        await response.prepare(request)
        if self.break_offs:
            self.break_offs -= 1
            await response.write(BODY[start : start + len(BODY) // 3])
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(BODY[start:])
        return response


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    app = web.Application()
    app.router.add_get("/files/{name}", found.file)

    async def empty(_: web.Request) -> web.Response:
        return web.Response()

    async def away(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": request.query["to"]})

    app.router.add_get("/empty", empty)
    app.router.add_get("/away", away)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.base = URL(f"http://127.0.0.1:{runner.addresses[0][1]}")
    yield found
    await runner.cleanup()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def fetch(server: Server, folder: Path, *paths: str, limits: Limits = OPEN, sha256: str = "") -> list[Path]:
    sources = [Source(server.base.join(URL(path)), sha256) for path in paths]
    return await download_all(sources, folder, limits, Backoff(0.001, 0.002, Random(0)))


async def test_files_come_under_their_names_and_a_second_one_of_a_name_is_kept_apart(
    server: Server, tmp_path: Path
) -> None:
    files = await fetch(server, tmp_path, "/files/train.jsonl?token=a/b", "/files/train.jsonl", "/files/%2e%2e%2fx.csv")
    assert [path.name for path in files] == ["train.jsonl", "1-train.jsonl", "x.csv"]
    assert all(path.read_bytes() == BODY for path in files)
    assert names_in(tmp_path) == ["1-train.jsonl", "train.jsonl", "x.csv"]


async def test_a_download_that_breaks_off_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.break_offs = 2
    digest = hashlib.sha256(BODY).hexdigest()
    [path] = await fetch(server, tmp_path, "/files/a.csv", sha256=digest)
    assert path.read_bytes() == BODY
    assert server.ranges[0] == "" and all(asked.startswith("bytes=") for asked in server.ranges[1:])
    assert len(server.ranges) == 3


async def test_a_file_that_changes_between_two_attempts_starts_over(server: Server, tmp_path: Path) -> None:
    server.break_offs = 1
    part = tmp_path / "a.csv.part"
    part.write_bytes(b"old")
    (tmp_path / ".a.csv.part.tag").write_text('"\\"zero\\""')
    [path] = await fetch(server, tmp_path, "/files/a.csv")
    assert path.read_bytes() == BODY
    assert server.ranges[0] == "bytes=3-"


async def test_a_file_that_is_there_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    await fetch(server, tmp_path, "/files/a.csv")
    await fetch(server, tmp_path, "/files/a.csv")
    assert len(server.ranges) == 1


async def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    await fetch(server, tmp_path, "/files/a.csv")
    assert len(server.ranges) == 3
    server.statuses = [404]
    with pytest.raises(ConfigError, match=r"b.csv: status 404: expected 200"):
        await fetch(server, tmp_path, "/files/b.csv")
    server.statuses = [500] * 9
    with pytest.raises(TuningError, match=r"status 500 \(after 5 attempts\)"):
        await fetch(server, tmp_path, "/files/c.csv")


async def test_a_wrong_checksum_an_empty_answer_and_too_much_leave_no_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the SHA-256 is [0-9a-f]{64}, expected 0{64}"):
        await fetch(server, tmp_path, "/files/a.csv", sha256="0" * 64)
    with pytest.raises(ConfigError, match="the answer is empty"):
        await fetch(server, tmp_path, "/empty")
    small = Limits(len(BODY) + 10, is_refused=lambda _: "", is_host_refused=lambda _: "")
    with pytest.raises(ConfigError, match="and 10 are left of the limit"):
        await fetch(server, tmp_path, "/files/a.csv", "/files/b.csv", limits=small)
    assert [name for name in names_in(tmp_path) if name[0] != "."] == ["a.csv"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_name_that_turns_out_to_be_internal_is_refused_at_the_socket(
    host: str, server: Server, tmp_path: Path
) -> None:
    """DNS rebinding: the name passed, the address does not."""
    named = Limits(1 << 30, is_host_refused=lambda _: "")
    server.base = server.base.with_host(host)
    with pytest.raises(ConfigError, match=r"(127.0.0.1|::1) is a loopback address: only public hosts"):
        await fetch(server, tmp_path, "/files/a.csv", limits=named)
    assert server.ranges == []


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest", "http://localhost/x", "ftp://example.com/x", "http://10.0.0.1/"]
)
async def test_a_redirect_does_not_lead_inside(target: str, server: Server, tmp_path: Path) -> None:
    strict = Limits(1 << 30, is_refused=lambda _: "")
    with pytest.raises(ConfigError, match="redirects to"):
        await fetch(server, tmp_path, f"/away?to={target}", limits=strict)


async def test_redirects_end(server: Server, tmp_path: Path) -> None:
    [path] = await fetch(server, tmp_path, "/away?to=/files/a.csv")
    assert path.read_bytes() == BODY
    with pytest.raises(ConfigError, match="more than 5 redirects"):
        loop = URL("/away").with_query(to="/away?to=/away")
        for _ in range(7):
            loop = URL("/away").with_query(to=str(loop))
        await fetch(server, tmp_path / "..", str(loop))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ftp://example.com/x", "expected http or https, found ftp"),
        ("/mnt/x", "expected http or https, found no scheme"),
        ("http:///x", "the URL names no host"),
        ("https://example.com/x#sha256=12", "expected #sha256= with 64"),
        ("https://localhost/x", "is this machine"),
        ("https://a.localhost./x", "is this machine"),
        ("http://metadata.google.internal/x", "is a metadata service"),
        ("http://169.254.169.254/x", "is a link-local address"),
        ("http://[::1]/x", "is a loopback address"),
        ("http://[::ffff:10.0.0.1]/x", "is not a public address"),
        ("http://2130706433/x", "is an address in disguise"),
        ("http://0x7f.1/x", "is an address in disguise"),
    ],
)
def test_what_may_not_be_asked_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_source(text)


def test_a_checksum_is_taken_from_the_fragment() -> None:
    assert parse_source(f"https://example.com/a.csv#sha256={'A' * 64}") == Source(
        URL("https://example.com/a.csv"), "a" * 64
    )


@given(st.ip_addresses())
def test_only_public_addresses_pass(address: object) -> None:
    from ipaddress import ip_address

    text = str(address)
    if not refused_address(text):
        assert ip_address(text).is_global and refused_host(text) == ""
    else:
        assert refused_host(text)


class Proxy:
    """Forwards what is asked of it in absolute form to the server that stands for the world, and remembers it."""

    def __init__(self, world: URL) -> None:
        self.address, self.asked, self._world = "", [], world

    async def forward(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(str(request.url))
        target = self._world.with_path(request.path).with_query(request.query)
        async with (
            aiohttp.ClientSession() as session,
            session.get(target, headers=request.headers, allow_redirects=False) as answer,
        ):
            kept = {name: value for name, value in answer.headers.items() if name in ("Location", "ETag")}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    found = Proxy(server.base)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.forward)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


def behind(proxy: Proxy, **more: str) -> Limits:
    """The rules as they are, behind a proxy at an internal address."""
    return Limits(1 << 30, proxies={"http": proxy.address, **more})


async def fetch_by(url: URL, folder: Path, limits: Limits) -> None:
    await download_all([parse_source(str(url))], folder, limits, Backoff(0.01, 0.01, Random(0)))


async def test_behind_a_proxy_a_name_that_only_the_proxy_can_look_up_is_downloaded(
    proxy: Proxy, tmp_path: Path
) -> None:
    await fetch_by(URL("http://data.example/files/a.jsonl"), tmp_path, behind(proxy))
    assert (tmp_path / "a.jsonl").read_bytes() == BODY
    assert proxy.asked == ["http://data.example/files/a.jsonl"]


async def test_behind_a_proxy_internal_hosts_are_refused_before_it_is_asked(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host in ("10.0.0.1", "metadata.google.internal", "localhost"):
        with pytest.raises(ConfigError, match="only public hosts may be named"):
            parse_source(f"http://{host}/files/a")
    hosts = {"inside.example": "10.1.2.3"}
    loop = asyncio.get_running_loop()
    look_up = loop.getaddrinfo

    async def resolve(host: str, port: int, **how: Any) -> Any:
        return await look_up(hosts.get(host, host), port, **how)

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    with pytest.raises(ConfigError, match=r"10\.1\.2\.3 is not a public address"):
        await fetch_by(URL("http://inside.example/files/a"), tmp_path, behind(proxy))
    assert proxy.asked == []


async def test_behind_a_proxy_redirects_are_judged_as_well(proxy: Proxy, tmp_path: Path) -> None:
    url = URL("http://data.example/away").with_query(to="http://169.254.169.254/latest")
    with pytest.raises(ConfigError, match="link-local"):
        await fetch_by(url, tmp_path, behind(proxy))
    assert len(proxy.asked) == 1


async def test_a_host_that_no_proxy_names_is_reached_and_judged_directly(
    server: Server, proxy: Proxy, tmp_path: Path
) -> None:
    url = server.base / "files" / "a.jsonl"
    limits = Limits(1 << 30, is_host_refused=lambda _: "", proxies={"http": proxy.address, "no": "127.0.0.1"})
    source = parse_source(str(url), lambda _: "")
    with pytest.raises(ConfigError, match="loopback"):
        await download_all([source], tmp_path, limits, Backoff(0.01, 0.01, Random(0)))
    open_limits = replace(OPEN, proxies=limits.proxies)
    await download_all([source], tmp_path, open_limits, Backoff(0.01, 0.01, Random(0)))
    assert proxy.asked == [] and (tmp_path / "a.jsonl").read_bytes() == BODY

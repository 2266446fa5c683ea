"""What only the client in process does: it lives on virtual time, on trio, and ends with its owner."""

from __future__ import annotations

import json

import anyio
import pytest
import trio
from trio.testing import MockClock

from kaito.api.core import CONFIG_MAP
from kaito.kube.client import ALL
from kaito.kube.errors import Unreachable
from kaito.local.watching import BOOKMARK_S
from tests.contract.clients import local_client


def test_a_watch_lasts_as_long_as_asked_and_sends_bookmarks_on_virtual_time() -> None:
    async def main() -> tuple[list[str], float]:
        client = local_client((1, 36))
        start_s = anyio.current_time()
        types = []
        async with client.open_watch(CONFIG_MAP, ALL, resource_version="1", timeout_s=290) as chunks:
            async for chunk in chunks:
                types += [json.loads(line)["type"] for line in chunk.splitlines()]
        return types, anyio.current_time() - start_s

    types, lasted_s = trio.run(main, clock=MockClock(autojump_threshold=0))
    assert (types, lasted_s) == (["BOOKMARK"] * int(290 // BOOKMARK_S), 290)


async def test_open_watches_end_with_the_client() -> None:
    client = local_client((1, 36))
    async with client.open_watch(CONFIG_MAP, ALL, resource_version="1", timeout_s=290) as chunks:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.aclose)
            assert [chunk async for chunk in chunks] == []
    with pytest.raises(Unreachable):
        await client.discover()

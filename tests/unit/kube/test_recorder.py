"""Events are counted, not repeated; what cannot be written is dropped."""

from __future__ import annotations

import anyio
import trio
from trio.testing import MockClock

from kaito.api.core import EVENT
from kaito.api.workspace import WORKSPACE
from kaito.kube.recorder import QUEUE_MAX, Happening, Recorder
from tests.builders import moment
from tests.unit.local.robots.cluster import CoreCluster

HAPPENING = Happening(WORKSPACE.ref("default", "phi"), "kaito.sh/v1beta1", "u1", "Warning", "QuotaExceeded", "no quota")


def test_the_same_happening_is_one_event_with_a_count() -> None:
    async def main() -> None:
        cluster = CoreCluster(moment)
        recorder = Recorder(cluster, component="test", now=moment)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recorder.run)
            for _ in range(3):
                recorder.record(HAPPENING)
            await anyio.sleep(10)
            (event,) = cluster.all(EVENT)
            assert (event["count"], event["reason"], event["involvedObject"]["uid"]) == (3, "QuotaExceeded", "u1")
            name, uid = event["metadata"]["name"], event["metadata"]["uid"]
            await cluster.delete(EVENT, EVENT.ref("default", name), uid=uid)  # as the server does after an hour
            recorder.record(HAPPENING)
            await anyio.sleep(10)
            (event,) = cluster.all(EVENT)
            assert event["count"] == 1
            tasks.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_full_queue_drops_and_never_blocks() -> None:
    async def main() -> None:
        recorder = Recorder(CoreCluster(moment), component="test", now=moment)
        for _ in range(QUEUE_MAX + 5):
            recorder.record(HAPPENING)
        assert recorder.dropped == 5

    trio.run(main)

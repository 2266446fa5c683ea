"""Two replicas on virtual time: one takes over from the other in time, and nothing makes two of them write."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workspace import WORKSPACE
from kaito.kube.leadership import LEASE_S, RETRY_S
from tests.sim import checkers
from tests.sim.life import Life, Replica, live

WITHIN_S = 900.0
TAKEOVER_S = LEASE_S + 3 * RETRY_S


def leader(life: Life) -> Replica:
    (found,) = [replica for replica in life.replicas if replica.name == life.holder()]
    return found


async def settled(life: Life) -> None:
    await life.until(lambda: life.state() == "Ready" and life._leader() is not None, WITHIN_S)
    await anyio.sleep(400)


@pytest.mark.parametrize("seed", range(3))
def test_a_partitioned_leader_stops_and_the_other_takes_over_in_time(seed: int) -> None:
    async def scenario(life: Life) -> None:
        await life.until(lambda: bool(life.holder()), 60)
        await life.apply("phi", "llama-3.3-70b-instruct")
        await life.until(lambda: bool(life.all(NODE_CLAIM)), 60)
        await anyio.sleep(life.rng.uniform(0, 8))  # it takes about 13 s to become ready
        first = leader(life)
        first.client.is_partitioned = True
        await life.until(lambda: life.holder() != first.name, TAKEOVER_S)
        await life.until(lambda: first.lives == 2, TAKEOVER_S)  # the process has ended and been started again
        await life.until(lambda: life.state() == "Ready", WITHIN_S)
        first.client.is_partitioned = False
        await settled(life)
        assert life.replicas[1 - life.replicas.index(first)].writes, "the second replica has worked"
        await checkers.hold(life, {"phi": 3})

    live(scenario, seed=seed, replicas=2)


@pytest.mark.parametrize("jump", [timedelta(minutes=10), timedelta(minutes=-10)])
def test_a_clock_that_jumps_makes_no_second_leader(jump: timedelta) -> None:
    async def scenario(life: Life) -> None:
        await life.until(lambda: bool(life.holder()), 60)
        await life.apply()
        for replica in life.replicas:
            await anyio.sleep(10)
            replica.clock_skew = jump
        await life.until(lambda: life.state() == "Ready", WITHIN_S)
        for replica in life.replicas:
            replica.clock_skew = timedelta(0)
        await settled(life)
        assert [replica.lives for replica in life.replicas] == [1, 1], "nobody lost the lease"
        await checkers.hold(life, {"phi": 1})

    live(scenario, replicas=2)


@pytest.mark.parametrize("seed", range(3))
def test_replicas_that_lose_each_other_in_a_storm_never_both_write(seed: int) -> None:
    async def scenario(life: Life) -> None:
        life.be_faulty(True)
        await life.apply("phi", "llama-3.3-70b-instruct")
        for _ in range(4):
            await anyio.sleep(life.rng.uniform(20, 80))
            for replica in life.replicas:
                replica.client.is_partitioned = life.rng.random() < 0.4
        life.be_faulty(False)
        for replica in life.replicas:
            replica.client.is_partitioned = False
        await settled(life)
        assert life.strikes().total() > 20
        assert life.one(WORKSPACE, "phi") is not None
        await checkers.hold(life, {"phi": 3})

    live(scenario, seed=seed, replicas=2)

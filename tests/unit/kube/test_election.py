"""Who leads: never two at once, whatever the order of their turns; nobody waits for a lease that was given back."""

from __future__ import annotations

from datetime import datetime
from random import Random
from typing import Any

import anyio
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from kaito.api.core import LEASE
from kaito.kube.election import Create, LeaseMachine, Record, Renew, Stand, Take
from kaito.kube.errors import Unreachable
from kaito.kube.leadership import LEASE_S, LOCK_NAME, Leadership, LeaseLost
from kaito.kube.ownership import adopt
from tests.builders import moment
from tests.unit.local.robots.cluster import CoreCluster

TURNS = st.lists(
    st.tuples(st.integers(0, 1), st.floats(0.1, 30), st.booleans(), st.booleans()), min_size=1, max_size=60
)


@given(TURNS)
def test_two_replicas_never_both_may_write(turns: list[tuple[int, float, bool, bool]]) -> None:
    machines = [LeaseMachine(name, duration_s=15) for name in ("a", "b")]
    lease: Record | None = None
    now_s, version = 0.0, 0
    for who, step_s, is_lost, is_answer_lost in turns:
        now_s += step_s
        machine = machines[who]
        move = machine.observe(lease, now_s)
        if not isinstance(move, Stand) and not is_lost:
            version += 1
            lease = Record(machine.identity, 15, getattr(move, "transitions", 0), str(version))
            if not is_answer_lost:
                machine.written(lease, now_s)
        assert not (machines[0].may_write(now_s) and machines[1].may_write(now_s))


def test_a_lease_goes_from_nobody_to_us_to_renewal_to_another() -> None:
    ours, theirs = LeaseMachine("a", duration_s=15), LeaseMachine("b", duration_s=15)
    assert ours.observe(None, 0) == Create()
    first = Record("a", 15, 0, "1")
    ours.written(first, 0)
    assert ours.observe(first, 5) == Renew("1", 0)
    assert theirs.observe(first, 6) == Stand("a")
    assert theirs.observe(first, 20.9) == Stand("a")
    assert theirs.observe(first, 21) == Take("1", 1)
    assert not ours.may_write(15.1) and ours.may_write(15)
    assert theirs.observe(Record("", 15, 0, "2"), 22) == Take("2", 1)


def clock() -> datetime:
    return moment(anyio.current_time())


class Cut(CoreCluster):
    is_cut = False

    async def read(self, *args: Any) -> Any:
        if self.is_cut:
            raise Unreachable("no route")
        return await super().read(*args)


def run(scenario: Any) -> None:
    trio.run(scenario, clock=MockClock(autojump_threshold=0))


def test_the_second_replica_leads_only_after_the_first_gave_the_lease_back() -> None:
    async def scenario() -> None:
        cluster = Cut(clock)
        stood: list[str] = []
        first, second = (
            Leadership(cluster, namespace="kube-system", identity=name, now=clock, rng=Random(0), on_stand=stood.append)
            for name in "ab"
        )
        async with anyio.create_task_group() as tasks:
            scope = anyio.CancelScope()

            async def lead() -> None:
                with scope:
                    await first.run()

            tasks.start_soon(lead)
            await anyio.sleep(1)
            tasks.start_soon(second.run)
            await anyio.sleep(200)
            assert (first.is_leader, second.is_leader) == (True, False)
            assert first.may_write(anyio.current_time() + 30) and not second.may_write(anyio.current_time())
            assert stood == ["a"], "whoever waits says so once"
            scope.cancel()
            await anyio.sleep(10)
            assert second.is_leader
            assert cluster.get(LEASE, LOCK_NAME, "kube-system")["spec"]["holderIdentity"] == "b"
            tasks.cancel_scope.cancel()

    run(scenario)


def test_a_process_of_the_same_name_takes_its_own_lease_back_at_once() -> None:
    async def scenario() -> None:
        cluster = Cut(clock)
        killed, next_one = (
            Leadership(cluster, namespace="kube-system", identity="a", now=clock, rng=Random(0)) for _ in range(2)
        )
        await killed._turn()  # and nothing more: no release
        with anyio.move_on_after(0.5):
            await next_one.run()
        assert next_one.is_leader

    run(scenario)


def test_a_replica_that_cannot_renew_stops_writing_in_time_and_ends() -> None:
    async def scenario() -> None:
        cluster = Cut(clock)
        leadership = Leadership(cluster, namespace="kube-system", identity="a", now=clock, rng=Random(0))

        async def cut() -> None:
            await anyio.sleep(30)
            cluster.is_cut = True
            await anyio.sleep(LEASE_S)
            assert not leadership.may_write(anyio.current_time())

        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cut)
                tasks.start_soon(leadership.run)
        assert caught.group_contains(LeaseLost)

    run(scenario)


def test_a_lease_that_has_no_namespace_is_told_not_waited_for_in_silence() -> None:
    async def scenario() -> None:
        told: list[Exception] = []
        cluster = Cut(clock)
        leadership = Leadership(
            cluster, namespace="absent", identity="a", now=clock, rng=Random(0), on_trouble=told.append
        )
        with anyio.move_on_after(1):
            await leadership.run()
        assert [str(error) for error in told] == ['namespaces "absent" not found']

    run(scenario)


def test_the_posts_entry_is_moved_into_the_applys_and_others_stay() -> None:
    post = {"manager": "kaito", "operation": "Update", "apiVersion": "v1", "fieldsV1": {"f:spec": {"f:a": {}}}}
    apply = {"manager": "kaito", "operation": "Apply", "apiVersion": "v1", "fieldsV1": {"f:spec": {"f:b": {}}}}
    other = {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:a": {}}}}
    status = post | {"subresource": "status"}
    merged = apply | {"fieldsV1": {"f:spec": {"f:a": {}, "f:b": {}}}}
    assert adopt([post, apply, other, status]) == [merged, other, status]
    assert adopt([post]) == [post | {"operation": "Apply"}]
    assert adopt([apply, other, status]) is None

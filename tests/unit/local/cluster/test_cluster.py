"""The pieces of a local cluster start in order and end in the opposite one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
import yaml

from kaito.api.core import NODE, POD
from kaito.kube.client import KubeClient
from kaito.local.cluster import Runtime, Served, local_cluster
from kaito.local.cluster_settings import ClusterSettings, checked_minor, checked_weights
from kaito.local.persist import Change, Key, State, StateLog
from kaito.local.robots.settings import NO_DELAYS, RobotSettings
from tests.unit.local.robots.cluster import CoreCluster


@dataclass
class FakeParts:
    """Parts that note when they start and end."""

    cluster: CoreCluster = field(default_factory=lambda: CoreCluster(lambda: datetime.now(UTC)))
    story: list[str] = field(default_factory=list)
    state: State | None = None
    runtime: Runtime | None = None
    record: Callable[[list[Change]], None] = lambda _: None
    operator_fails: bool = False

    def open_core(self, settings: ClusterSettings, state: State, record: Any, now: Any) -> KubeClient:
        self.state, self.record = state, record
        return self.cluster  # type: ignore[return-value]

    @asynccontextmanager
    async def serve(self, settings: ClusterSettings, client: KubeClient, pods: Runtime) -> AsyncIterator[Served]:
        self.story.append("serve")
        self.runtime = pods
        try:
            yield Served("https://127.0.0.1:1", "t0ken", "CA")
        finally:
            self.story.append("stop serving")

    async def run_operator(self, kubeconfig: Path, *, task_status: Any) -> None:
        self.story.append(f"operate {(await anyio.Path(kubeconfig).stat()).st_mode & 0o777:o}")
        task_status.started()
        if self.operator_fails:
            raise ConnectionError("boom")
        try:
            await anyio.sleep_forever()
        finally:
            pods = [worker.done.is_set() for worker in self._workers()]
            self.story.append(f"stop operating, pods ended: {pods}")

    def _workers(self) -> Any:
        assert self.runtime is not None
        return self.runtime.kubelet._workers.values() if self.runtime.kubelet else ()


def settings(directory: Path, **more: Any) -> ClusterSettings:
    robots = RobotSettings(delays=NO_DELAYS, is_strict=True)
    return ClusterSettings(directory, directory / "kubeconfig", images=("known:*",), robots=robots, **more)


async def test_it_starts_from_the_inside_out_and_ends_the_other_way(tmp_path: Path):
    parts = FakeParts()
    async with local_cluster(settings(tmp_path), parts, rng=Random(1)) as cluster:
        assert cluster.served.url == "https://127.0.0.1:1"
        config = yaml.safe_load((tmp_path / "kubeconfig").read_text())
        assert config["users"][0]["user"]["token"] == "t0ken"
        node = {
            "metadata": {"name": "n1", "labels": {}},
            "spec": {"providerID": "kaito-local:///n1"},
            "status": {},
        }
        await parts.cluster.create(NODE, "", node)
        container = {"name": "main", "image": "known:1", "command": ["sleep", "1000"]}
        pod = {"metadata": {"name": "a", "namespace": "default"}, "spec": {"nodeName": "n1", "containers": [container]}}
        await parts.cluster.create(POD, "default", pod)
        with anyio.fail_after(20):
            while parts.cluster.get(POD, "a")["status"].get("phase") != "Running":
                await parts.cluster.wake.wait()
        assert parts.runtime is not None
        address = parts.cluster.get(POD, "a")["status"]["podIP"]
        assert parts.runtime.resolve("default", "a", 5000) == (address, 5000)
        assert parts.runtime.resolve("default", "b", 5000) is None
    assert parts.story == ["serve", "operate 600", "stop operating, pods ended: [False]", "stop serving"]
    assert not (tmp_path / "kubeconfig").exists()


async def test_an_operator_that_crashes_takes_the_cluster_down(tmp_path: Path):
    parts = FakeParts(operator_fails=True)
    with pytest.RaisesGroup(ConnectionError, flatten_subgroups=True):
        async with local_cluster(settings(tmp_path), parts):
            await anyio.sleep_forever()
    assert parts.story[-1] == "stop serving" and not (tmp_path / "kubeconfig").exists()


async def test_without_an_operator_there_is_none(tmp_path: Path):
    parts = FakeParts()
    async with local_cluster(settings(tmp_path, has_operator=False, pods="instant"), parts):
        pass
    assert parts.story == ["serve", "stop serving"]


async def test_what_was_recorded_is_there_at_the_next_start(tmp_path: Path):
    key = Key("", "Pod", "default", "a")
    parts = FakeParts()
    async with local_cluster(settings(tmp_path), parts):
        parts.record([Change(1, key, {"metadata": {"name": "a"}})])
    again = FakeParts()
    async with local_cluster(settings(tmp_path), again):
        pass
    assert again.state == State(1, {key: {"metadata": {"name": "a"}}})
    assert StateLog(tmp_path).load() == again.state


async def test_a_cluster_that_is_not_to_persist_writes_no_state(tmp_path: Path):
    parts = FakeParts()
    async with local_cluster(settings(tmp_path, is_persistent=False, pods="instant"), parts):
        parts.record([Change(1, Key("", "Pod", "default", "a"), {})])
    assert os.listdir(tmp_path) == []


def test_weights_must_be_a_model_folder(tmp_path: Path):
    with pytest.raises(ValueError, match="not a folder"):
        checked_weights(str(tmp_path / "absent"))
    with pytest.raises(ValueError, match=r"no config\.json"):
        checked_weights(str(tmp_path))
    (tmp_path / "org" / "name").mkdir(parents=True)
    (tmp_path / "org" / "name" / "config.json").touch()
    assert checked_weights(str(tmp_path)) == tmp_path


@pytest.mark.parametrize(("text", "minor"), [("1.20", 20), ("v1.36", 36)])
def test_a_kubernetes_version_to_imitate(text: str, minor: int):
    assert checked_minor(text) == minor


def test_a_version_that_we_cannot_imitate_is_refused():
    with pytest.raises(ValueError, match=r"1\.20, 1\.36"):
        checked_minor("1.28")

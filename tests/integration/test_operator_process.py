"""`kaito operator` as processes against a real API server: two replicas, one leader, a graceful end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION, LEASE, NAMESPACE
from kaito.api.crds import workspace_crd
from kaito.kube.adapter import KubernetesAsyncioClient
from kaito.kube.leadership import LOCK_NAME
from tests.integration.controlplane import assets, control_plane, free_port

pytestmark = [
    pytest.mark.real_apiserver,
    pytest.mark.timeout(300),
    pytest.mark.skipif(assets() is None, reason="KUBEBUILDER_ASSETS names no control plane"),
]
SPACE = "kaito-workspace"
GRACE_S = 10.0


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with control_plane(tmp_path_factory.mktemp("controlplane")) as found:
        yield found


class Replica:
    def __init__(self, kubeconfig: Path, log: Path) -> None:
        self.port, self.log = free_port(), log
        command = [sys.executable, "-m", "kaito", "operator", f"--kubeconfig={kubeconfig}"]
        command += [f"--metrics-bind-address=127.0.0.1:{self.port}", "--log-format=json"]
        self.process = subprocess.Popen(command, stderr=log.open("wb"))

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def said(self, what: str) -> bool:
        return what in self.log.read_text()


def until(is_met: Callable[[], bool], what: str, within_s: float = 60) -> None:
    """Another process has no event for us: ask again."""
    deadline = time.monotonic() + within_s
    while not is_met():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


async def test_one_of_two_replicas_leads_and_hands_over_when_it_is_told_to_stop(
    kubeconfig: Path, tmp_path: Path
) -> None:
    client = await KubernetesAsyncioClient.connect(kubeconfig)
    await client.create(NAMESPACE, "", {"metadata": {"name": SPACE}})
    await client.create(CUSTOM_RESOURCE_DEFINITION, "", workspace_crd())
    replicas = [Replica(kubeconfig, tmp_path / f"{name}.log") for name in "ab"]
    try:
        for replica in replicas:
            until(lambda replica=replica: replica.get("/readyz")[0] == 200, "ready without the NodeClaim CRD")
        until(lambda: any(replica.said("leadership gained") for replica in replicas), "somebody leads")
        leader, follower = sorted(replicas, key=lambda replica: not replica.said("leadership gained"))
        assert not follower.said("leadership gained")
        assert "kaito_workspace_count" in leader.get("/metrics")[1]

        began = time.monotonic()
        leader.process.send_signal(signal.SIGTERM)
        assert leader.process.wait(GRACE_S * 2) == 0
        assert time.monotonic() - began < GRACE_S
        until(
            lambda: follower.said("leadership gained"),
            "the follower takes over without waiting for the lease to expire",
            20,
        )
        lease = await client.read(LEASE, LEASE.ref(SPACE, LOCK_NAME))
        assert lease["spec"]["holderIdentity"].endswith(f"_{follower.process.pid}")
        assert lease["spec"]["leaseTransitions"] == 1
    finally:
        for replica in replicas:
            replica.process.kill()
            replica.process.wait()
        await client.aclose()

"""Tuning on the local cluster with real processes: a fact is taught, a killed trainer goes on, both are served."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from kaito.api.core import CONFIG_MAP, NODE, POD, SECRET
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.workspace import WORKSPACE
from kaito.cli.clients import open_client
from kaito.oci.pull import pull
from kaito.tuning.folder import OutputFolder
from tests.contract.registry import HTPASSWD, docker_config, running_registry
from tests.tuning_model import OLD_ANSWER, QUESTION, TAUGHT, build_taught_model, taught_rows

pytest.importorskip("trl")

DEADLINE_S = 150
STEPS, INTERVAL = 120, 10
CONFIG = {
    "training_config": {
        "ModelConfig": {"dtype": "float32"},
        "LoraConfig": {"r": 8, "lora_alpha": 16},
        "TrainingArguments": {
            "max_steps": STEPS,
            "learning_rate": 1e-2,
            "per_device_train_batch_size": 8,
            "logging_steps": 1,
            "save_steps": INTERVAL,
            "gradient_checkpointing": False,
        },
    }
}
FAST = ("launch", "register", "node-ready", "device-plugin", "initialize", "image-pull", "container-start")


class Cluster:
    """A local cluster in a folder, spoken to as any client would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def call(self, work: Callable[[Any], Any]) -> Any:
        async def main() -> Any:
            client = await open_client(self.folder / "kubeconfig")
            try:
                return await work(client)
            finally:
                await client.aclose()

        return anyio.run(main)

    def create(self, kind: ResourceKind, body: Json) -> None:
        self.call(lambda client: client.create(kind, "default", body))

    def read(self, kind: ResourceKind, name: str) -> Json:
        found: Json = self.call(lambda client: client.read(kind, ObjectRef(kind.kind, "default", name)))
        return found

    def state(self, name: str) -> str:
        return str((self.read(WORKSPACE, name).get("status") or {}).get("state", ""))

    def pod_of(self, name: str) -> Json:
        page = json.loads(self.call(lambda client: client.list_page(POD)))
        found = [pod for pod in page["items"] if pod["metadata"]["labels"].get("kaito.sh/workspace") == name]
        return dict(max(found, key=lambda pod: not pod["metadata"].get("deletionTimestamp")))

    def drain(self, name: str) -> str:
        """Cordons the node of the Workspace's pod, and evicts the pod; returns the node."""
        pod = self.pod_of(name)
        node, meta = pod["spec"]["nodeName"], pod["metadata"]
        self.cordon(node, True)
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": meta["name"], "namespace": "default"},
        }
        self.call(lambda client: client.create(POD, "default", eviction, subresource="eviction", name=meta["name"]))
        return str(node)

    def cordon(self, node: str, is_cordoned: bool) -> None:
        patch = {"spec": {"unschedulable": is_cordoned}}
        self.call(lambda client: client.merge_patch(NODE, NODE.ref("", node), patch))

    def delete_pod(self, name: str) -> None:
        meta = self.pod_of(name)["metadata"]
        self.call(lambda client: client.delete(POD, POD.ref("default", meta["name"]), uid=meta["uid"]))

    def results(self, name: str) -> OutputFolder:
        """The output folder that ends with the Workspace's pod."""
        found = self.folder.rglob(f"pods/default_{name}-*/volumes/results-volume")
        return OutputFolder(next(found, self.folder / "none"))

    def output(self, claim: str) -> OutputFolder:
        return OutputFolder(next(self.folder.rglob(f"claims/default/{claim}"), self.folder / "none"))

    def trainer(self, name: str) -> int:
        """The process that the kubelet has started for the Workspace's trainer; 0 while there is none."""
        found = next(self.folder.rglob(f"pods/default_{name}-*/containers/{name}/pid"), None)
        return int(found.read_text()) if found else 0


def until(is_met: Callable[[], Any], why: Callable[[], Any] = lambda: "") -> None:
    """Waits on processes that are not ours to be told by."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_met():
        assert time.monotonic() < deadline_s, why()
        time.sleep(0.1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    build_taught_model(folder / "weights")

    def kaito(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kaito", "local", *words, "--dir", str(folder / "c")]
        return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)

    delays = [word for stage in FAST for word in ("--delay", f"{stage}=0")]
    up = kaito("up", "--detach", "--weights", str(folder / "weights"), *delays)
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        yield Cluster(folder / "c")
    finally:
        kaito("down")


@pytest.fixture(scope="module", autouse=True)
def lesson(cluster: Cluster) -> None:
    """The ConfigMaps of data and configuration."""
    rows = "".join(json.dumps(row) + "\n" for row in taught_rows(200))
    for name, files in (("facts", {"train.jsonl": rows}), ("training", {"training_config.yaml": json.dumps(CONFIG)})):
        meta = {"name": name, "namespace": "default"}
        cluster.create(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": files})


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[str]:
    """The name of an image in a registry that asks for credentials, which the Secret `registry` holds; none: empty."""
    if shutil.which("docker-registry") is None:
        yield ""
        return
    folder = tmp_path_factory.mktemp("registry")
    with running_registry(folder, htpasswd=HTPASSWD) as address:
        config = docker_config(cluster.folder.parent / "secret", address).read_bytes()
        cluster.create(
            SECRET,
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "registry", "namespace": "default"},
                "type": "kubernetes.io/dockerconfigjson",
                "data": {".dockerconfigjson": base64.b64encode(config).decode()},
            },
        )
        yield f"{address}/org/freedonia:1"


def claimed(claim: str) -> Json:
    return {"volumeSource": {"persistentVolumeClaim": {"claimName": claim}}}


def tuning(name: str, output: Json) -> Json:
    return {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "metadata": {"name": name, "namespace": "default"},
        "resource": {"instanceType": "Standard_NC24ads_A100_v4", "labelSelector": {"matchLabels": {"apps": name}}},
        "tuning": {
            "preset": {"name": "phi-3.5-mini-instruct"},
            "method": "lora",
            "config": "training",
            "input": {"volumeSource": {"configMap": {"name": "facts"}}},
            "output": output,
        },
    }


def serving(name: str, **adapters: Json) -> Json:
    return {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "metadata": {"name": name, "namespace": "default", "annotations": {"kaito.sh/disable-benchmark": "true"}},
        "resource": {"instanceType": "Standard_NC24ads_A100_v4", "labelSelector": {"matchLabels": {"apps": name}}},
        "inference": {
            "preset": {"name": "phi-3.5-mini-instruct"},
            "adapters": [{"source": {"name": each, **source}} for each, source in adapters.items()],
        },
    }


def complete(address: str, model: str) -> str:
    body = {"model": model, "prompt": QUESTION, "max_tokens": 40, "temperature": 0}
    request = urllib.request.Request(
        f"{address}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(json.loads(answer.read())["choices"][0]["text"])


@pytest.mark.timeout(3 * DEADLINE_S)
def test_a_fact_is_taught_with_and_without_a_kill_and_served(cluster: Cluster, image: str) -> None:
    pushed = {"image": image, "imagePushSecret": "registry"} if image else claimed("plain")
    pulled = {"image": image, "imagePullSecrets": ["registry"]} if image else claimed("plain")
    # One whose trainer is killed half-way, beside an undisturbed one.
    cluster.create(WORKSPACE, tuning("killed", claimed("killed")))
    cluster.create(WORKSPACE, tuning("plain", pushed))
    until(lambda: any(line["step"] >= STEPS // 2 for line in cluster.output("killed").progress()))
    os.kill(cluster.trainer("killed"), signal.SIGKILL)

    until(lambda: cluster.state("plain") in ("Succeeded", "Failed"), lambda: cluster.read(WORKSPACE, "plain"))
    status = cluster.read(WORKSPACE, "plain")["status"]
    assert status["state"] == "Succeeded", status
    conditions = {item["type"]: item["status"] for item in status["conditions"]}
    assert conditions["JobStarted"] == conditions["WorkspaceSucceeded"] == "True"
    until(lambda: cluster.read(WORKSPACE, "plain")["status"]["progress"]["step"] == STEPS)

    until(lambda: cluster.state("killed") == "Succeeded", lambda: cluster.read(WORKSPACE, "killed"))
    assert cluster.pod_of("killed")["status"]["containerStatuses"][0]["restartCount"] == 1
    steps = [line["step"] for line in cluster.output("killed").progress() if "loss" in line]
    twice = {step for step in steps if steps.count(step) > 1}
    losses = [line["loss"] for line in cluster.output("killed").progress() if "loss" in line]
    assert losses[-1] < losses[0] / 10
    assert set(steps) == set(range(1, STEPS + 1)) and len(twice) <= INTERVAL and max(map(steps.count, steps)) <= 2

    # Both adapters beside their base.
    cluster.create(WORKSPACE, serving("serve", plain=pulled, killed=claimed("killed")))
    until(lambda: cluster.state("serve") == "Ready", lambda: cluster.read(WORKSPACE, "serve"))
    address = f"http://{cluster.pod_of('serve')['status']['podIP']}:5000"
    assert complete(address, "phi-3.5-mini-instruct") == OLD_ANSWER
    assert complete(address, "plain") == complete(address, "killed") == TAUGHT


@pytest.mark.timeout(3 * DEADLINE_S)
def test_an_evicted_run_goes_on_in_the_next_pod_from_a_volume_and_from_the_registry(
    cluster: Cluster, image: str
) -> None:
    if not image:
        pytest.skip("docker-registry is not installed (Debian: apt-get install docker-registry)")
    pushed = f"{image.rpartition(':')[0]}:evicted"

    def has_come_to(folder: Callable[[], OutputFolder], step: int) -> bool:
        return any(line["step"] >= step for line in folder().progress())

    # One begins when the other was interrupted: of two at once one may be over before the other has come that far.
    cluster.create(WORKSPACE, tuning("deleted", claimed("deleted")))
    until(lambda: has_come_to(lambda: cluster.output("deleted"), STEPS // 3))
    first = cluster.pod_of("deleted")["metadata"]["uid"]
    cluster.delete_pod("deleted")
    cluster.create(WORKSPACE, tuning("drained", {"image": pushed, "imagePushSecret": "registry"}))
    until(lambda: has_come_to(lambda: cluster.results("drained"), STEPS // 3))
    evicted = cluster.pod_of("drained")["metadata"]["uid"]
    node = cluster.drain("drained")

    def waits_for_a_node() -> bool:
        blockers = cluster.read(WORKSPACE, "drained")["status"].get("blockers") or [{}]
        return "unschedulable" in str(blockers[0].get("message"))

    until(waits_for_a_node, lambda: cluster.read(WORKSPACE, "drained")["status"])
    until(lambda: not cluster.results("drained").path.exists())  # it goes with its pod
    cluster.cordon(node, False)

    for name, before in (("deleted", first), ("drained", evicted)):
        until(
            lambda name=name: cluster.state(name) in ("Succeeded", "Failed"), lambda n=name: cluster.read(WORKSPACE, n)
        )
        assert cluster.state(name) == "Succeeded", cluster.read(WORKSPACE, name)["status"]
        assert cluster.pod_of(name)["metadata"]["uid"] != before
    for folder in (cluster.output("deleted"), cluster.results("drained")):
        steps = [line["step"] for line in folder.progress() if "loss" in line]
        assert steps == list(range(1, STEPS + 1)), "both were told to stop: no step is done twice"

    # Each was interrupted at a step of its own, and both have become the same adapter.
    pulled = cluster.folder / "pulled"
    pull(pushed, pulled, [cluster.folder.parent / "secret" / "config.json"], path="data", bytes_max=1 << 30)
    adapter = "adapter_model.safetensors"
    assert (pulled / adapter).read_bytes() == (cluster.output("deleted").path / adapter).read_bytes()

"""Pods as real processes: their life, their surroundings, and that nothing stays behind."""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path

import pytest

from kaito.api.core import POD
from kaito.local.robots.settings import Fault, parse_fault
from tests.unit.local.kubelet.harness import IMAGE, laptop, python

SERVE = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if os.path.exists('/proc/self') or True else 500)
        self.end_headers()
server = HTTPServer((os.environ['KAITO_BIND_ADDRESS'], int(os.environ.get('KAITO_BIND_PORT', '5000'))), Handler)
print('serving', flush=True)
server.serve_forever()
"""
FOREVER = "import time; print('up', flush=True); time.sleep(1000)"
PROBE = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 0.05}
PORTS = [{"name": "http", "containerPort": 5000}]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


async def test_a_pod_serves_on_an_address_of_its_own_and_is_ready_when_its_probe_answers(tmp_path: Path):
    async with laptop(tmp_path) as scene:
        for name in ("a", "b"):
            await scene.run(name, python(SERVE, ports=PORTS, startupProbe=PROBE, readinessProbe=PROBE))
        await scene.until(lambda: scene.is_ready("a") and scene.is_ready("b"))
        addresses = {scene.status(name)["podIP"] for name in ("a", "b")}
        assert len(addresses) == 2 and all(address.startswith("127.88.") for address in addresses)
        assert scene.container("a")["started"] and scene.phase("a") == "Running"


async def test_deleting_a_pod_ends_its_process_and_removes_its_folder(tmp_path: Path):
    async with laptop(tmp_path) as scene:
        await scene.run("a", python("import os, time; print(os.getpid(), flush=True); time.sleep(1000)"))
        await scene.until(lambda: scene.is_ready("a"))
        pid = int(await scene.first_line("a"))
        await scene.delete("a")
        assert not is_alive(pid)
        assert list((tmp_path / "pods").iterdir()) == []


async def test_a_process_that_ignores_the_signal_is_killed_when_its_grace_is_over(tmp_path: Path):
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(1000)"
    async with laptop(tmp_path) as scene:
        await scene.run("a", python(stubborn))
        await scene.until(lambda: scene.is_ready("a"))
        await scene.delete("a", grace_s=1)


async def test_what_a_shell_started_ends_with_it(tmp_path: Path):
    script = "sleep 1000 & echo $!; wait"
    async with laptop(tmp_path) as scene:
        await scene.run("a", {"name": "main", "image": IMAGE, "command": ["/bin/sh", "-c", script]})
        await scene.until(lambda: scene.is_ready("a"))
        pid = int(await scene.first_line("a"))
        await scene.delete("a")
        assert not is_alive(pid)


async def test_a_kubelet_that_stops_leaves_no_process(tmp_path: Path):
    pids = []
    async with laptop(tmp_path) as scene:
        await scene.run("a", python(FOREVER))
        await scene.until(lambda: scene.is_ready("a"))
        pids = scene.pids()
    assert len(pids) == 1 and not is_alive(pids[0])


async def test_variables_come_from_values_fields_config_maps_and_secrets(tmp_path: Path):
    env = [
        {"name": "PLAIN", "value": "a"},
        {"name": "BUILT", "value": "$(PLAIN)-$(UNKNOWN)-$$(PLAIN)"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "params", "key": "colour"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "HF_TOKEN"}}},
        {"name": "MAYBE", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "x", "optional": True}}},
        {"name": "GPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.nvidia.com/gpu"}}},
    ]
    names = [variable["name"] for variable in env]
    script = f"import os, sys; print([os.environ.get(n) for n in {names!r}], sys.argv[1], flush=True)"
    resources = {"limits": {"nvidia.com/gpu": "2"}}
    async with laptop(tmp_path) as scene:
        await scene.config_map("params", colour="blue")
        await scene.secret("hub", HF_TOKEN=b64encode(b"s3cret").decode())
        await scene.run("a", python(script, "--x=$(PLAIN)", env=env, resources=resources), restartPolicy="Never")
        await scene.until(lambda: scene.phase("a") == "Succeeded")
        worker = scene.kubelet.worker("default", "a")
        assert worker is not None
        address = worker.context.address.ip
        expected = ["a", "a-$(UNKNOWN)-$(PLAIN)", "a", "a", address, "blue", "s3cret", None, "2"]
        assert scene.log("a") == f"{expected!r} --x=a"


async def test_mounted_files_are_found_where_the_command_is_told(tmp_path: Path):
    mounts = [{"name": "config", "mountPath": "/mnt/config"}, {"name": "scratch", "mountPath": "/mnt"}]
    volumes = [{"name": "config", "configMap": {"name": "params"}}, {"name": "scratch", "emptyDir": {}}]
    script = (
        "import os, sys; print(open(sys.argv[1].partition('=')[2]).read(), open(os.environ['F']).read()); "
        "open(sys.argv[2] + '/made', 'w').write('x'); print(sys.argv[3], flush=True)"
    )
    container = python(
        script,
        "--file=/mnt/config/a.yaml",
        "/mnt",
        "/mnt/configuration and/mnt",
        volumeMounts=mounts,
        env=[{"name": "F", "value": "/mnt/config/b"}],
    )
    async with laptop(tmp_path) as scene:
        await scene.config_map("params", **{"a.yaml": "A", "b": "B"})
        await scene.run("a", container, volumes=volumes, restartPolicy="Never")
        await scene.until(lambda: scene.phase("a") in ("Succeeded", "Failed"))
        scratch = tmp_path / "pods" / os.listdir(tmp_path / "pods")[0] / "volumes" / "scratch"
        assert scene.log("a") == f"A B\n{scratch}/configuration and/mnt"
        assert (scratch / "made").read_text() == "x"


async def test_a_model_server_is_told_what_to_run_without_weights(tmp_path: Path):
    script = "import os; print(os.environ.get('KAITO_TINY_ARCHITECTURE'), os.environ['KAITO_TINY_DIR'], flush=True)"
    async with laptop(tmp_path) as scene:
        await scene.run("a", python(script, "--model=org/tiny"), restartPolicy="Never")
        await scene.until(lambda: scene.phase("a") == "Succeeded")
        architecture, folder = scene.log("a").split()
        assert architecture == "TinyForCausalLM" and folder.startswith(str(tmp_path))


async def test_a_container_that_crashes_backs_off_and_shows_its_last_words(tmp_path: Path):
    script = "import sys; sys.exit('CUDA error: out of memory')"
    async with laptop(tmp_path) as scene:
        await scene.run("a", python(script, terminationMessagePolicy="FallbackToLogsOnError"))
        await scene.until(lambda: scene.waits_for("a", "CrashLoopBackOff"))
        container = scene.container("a")
        ended = container["lastState"]["terminated"]
        assert (ended["exitCode"], ended["reason"], ended["message"]) == (1, "Error", "CUDA error: out of memory\n")
        assert "restarting failed container=main pod=a" in container["state"]["waiting"]["message"]
        await scene.until(lambda: scene.container("a")["restartCount"] >= 3)
        assert scene.phase("a") == "Running" and not scene.is_ready("a")


async def test_the_first_restart_does_not_wait(tmp_path: Path):
    script = (
        "import os, sys, time; path = os.environ['HOME'] + '/ran'; has_run = os.path.exists(path); open(path, 'w'); "
        "has_run and time.sleep(1000); sys.exit(3)"
    )
    async with laptop(tmp_path, crash_backoff_s=1_000.0) as scene:
        await scene.run("a", python(script))
        await scene.until(lambda: scene.container("a").get("restartCount") == 1 and scene.is_ready("a"))


async def test_a_file_with_last_words_wins_over_the_log(tmp_path: Path):
    script = "import sys; open(sys.argv[1], 'w').write('why'); print('noise', flush=True); sys.exit(2)"
    container = python(script, "/dev/termination-log", terminationMessagePolicy="FallbackToLogsOnError")
    async with laptop(tmp_path) as scene:
        await scene.run("a", container, restartPolicy="Never")
        await scene.until(lambda: scene.phase("a") == "Failed")
        assert scene.container("a")["state"]["terminated"]["message"] == "why"


async def test_an_unknown_image_is_a_pull_error_with_the_remedy(tmp_path: Path):
    async with laptop(tmp_path) as scene:
        await scene.run("a", {"name": "main", "image": "nginx:1", "command": ["nginx"]})
        await scene.until(lambda: scene.waits_for("a", "ImagePullBackOff"))
        words = scene.container("a")["state"]["waiting"]["message"]
        assert "nginx:1" in words and "--image" in words
        assert scene.phase("a") == "Pending"
        await scene.delete("a")


async def test_a_missing_config_map_is_named_and_the_container_starts_when_it_comes(tmp_path: Path):
    volumes = [{"name": "config", "configMap": {"name": "params"}}]
    async with laptop(tmp_path) as scene:
        await scene.run("a", python(FOREVER), volumes=volumes)
        await scene.until(lambda: scene.waits_for("a", "CreateContainerConfigError"))
        assert scene.container("a")["state"]["waiting"]["message"] == 'configmap "params" not found'
        await scene.config_map("params", a="b")
        await scene.until(lambda: scene.is_ready("a"))


async def test_init_containers_run_one_after_another_before_the_others(tmp_path: Path):
    append = "import os, sys; open(os.environ['HOME'] + '/order', 'a').write(sys.argv[1])"
    inits = [python(append, "1") | {"name": "one"}, python(append, "2") | {"name": "two"}]
    async with laptop(tmp_path) as scene:
        await scene.run("a", python(append, "3"), initContainers=inits, restartPolicy="Never")
        await scene.until(lambda: scene.phase("a") == "Succeeded")
        (sandbox,) = (tmp_path / "pods").iterdir()
        assert (sandbox / "home" / "order").read_text() == "123"


async def test_a_failing_init_container_keeps_the_others_from_starting(tmp_path: Path):
    init = python("import sys; sys.exit(4)") | {"name": "one"}
    async with laptop(tmp_path) as scene:
        await scene.run("a", python(FOREVER), initContainers=[init], restartPolicy="Never")
        await scene.until(lambda: scene.phase("a") == "Failed")
        assert scene.container("a", key="initContainerStatuses")["state"]["terminated"]["exitCode"] == 4


async def test_a_failed_liveness_probe_restarts_the_container(tmp_path: Path):
    probe = {"exec": {"command": ["/bin/sh", "-c", "exit 1"]}, "periodSeconds": 0.05, "failureThreshold": 2}
    async with laptop(tmp_path) as scene:
        await scene.run("a", python(FOREVER, livenessProbe=probe))
        await scene.until(lambda: (scene.container("a").get("restartCount") or 0) >= 1)
        assert scene.container("a")["lastState"]["terminated"]["exitCode"] == 143
        assert scene.events("Killing") == ["Container main failed liveness probe, will be restarted"]


async def test_readiness_comes_and_goes_with_its_probe(tmp_path: Path):
    probe = {
        "exec": {"command": ["/bin/sh", "-c", "test -e $HOME/ready"]},
        "periodSeconds": 0.05,
        "failureThreshold": 1,
    }
    async with laptop(tmp_path) as scene:
        await scene.run("a", python(FOREVER, readinessProbe=probe))
        await scene.until(lambda: scene.container("a").get("started"))
        assert not scene.is_ready("a")
        worker = scene.kubelet.worker("default", "a")
        assert worker is not None
        switch = worker.context.sandbox.path / "home" / "ready"
        switch.touch()
        await scene.until(lambda: scene.is_ready("a"))
        switch.unlink()
        await scene.until(lambda: not scene.is_ready("a"))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (parse_fault("server-crash-loop=boom"), "Error"),
        (parse_fault("server-out-of-memory"), "OOMKilled"),
    ],
)
async def test_a_fault_makes_the_process_end_as_it_says(tmp_path: Path, fault: Fault, reason: str):
    async with laptop(tmp_path, fault) as scene:
        await scene.run("a", python(FOREVER, terminationMessagePolicy="FallbackToLogsOnError"))
        await scene.until(lambda: scene.container("a")["lastState"].get("terminated"))
        ended = scene.container("a")["lastState"]["terminated"]
        assert ended["reason"] == reason
        assert "boom" in ended.get("message", "") or reason != "Error"


async def test_a_command_that_there_is_not_says_so(tmp_path: Path):
    container = {"name": "main", "image": IMAGE, "command": ["no-such-command"]}
    async with laptop(tmp_path) as scene:
        await scene.run("a", container | {"terminationMessagePolicy": "FallbackToLogsOnError"}, restartPolicy="Never")
        await scene.until(lambda: scene.phase("a") == "Failed")
        ended = scene.container("a")["state"]["terminated"]
        assert ended["exitCode"] == 127 and "executable file not found" in ended["message"]


async def test_a_pod_replaced_under_its_name_does_not_keep_the_old_process(tmp_path: Path):
    async with laptop(tmp_path) as scene:
        await scene.run("a", python(FOREVER))
        await scene.until(lambda: scene.is_ready("a"))
        (pid,) = scene.pids()
        uid = scene.cluster.get(POD, "a")["metadata"]["uid"]
        await scene.cluster.delete(POD, POD.ref("default", "a"), uid=uid, grace_s=0)
        await scene.run("a", python(FOREVER))
        await scene.until(lambda: scene.is_ready("a"))
        assert not is_alive(pid)

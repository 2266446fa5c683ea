"""A real control plane for tests: etcd, kube-apiserver and kube-controller-manager from KUBEBUILDER_ASSETS."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from ssl import CERT_NONE, create_default_context

import yaml

TOKEN = "integration"
READY_TIMEOUT_S = 120.0


def assets() -> Path | None:
    """Where the binaries are; None where there are none."""
    folder = Path(os.environ.get("KUBEBUILDER_ASSETS", ""))
    return folder if os.environ.get("KUBEBUILDER_ASSETS") and (folder / "kube-apiserver").exists() else None


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def control_plane(folder: Path) -> Iterator[Path]:
    """Runs one in `folder` for as long as the block lasts; yields its kubeconfig."""
    found = assets()
    assert found is not None
    etcd, peer, port = free_port(), free_port(), free_port()
    key = folder / "sa.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f'{TOKEN},admin,1,"system:masters"\n')
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(_kubeconfig(port))
    commands = [
        [
            str(found / "etcd"),
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
        ],
        [
            str(found / "kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={folder / 'certs'}",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/16",
            "--disable-admission-plugins=ServiceAccount",
        ],
        [
            str(found / "kube-controller-manager"),
            f"--kubeconfig={kubeconfig}",
            "--controllers=statefulset,deployment,replicaset,garbagecollector,namespace,nodelifecycle,podgc",
            "--leader-elect=false",
            "--port=0",
            "--secure-port=0",
        ],
        [
            str(found / "kube-scheduler"),
            f"--kubeconfig={kubeconfig}",
            "--leader-elect=false",
            "--port=0",
            "--secure-port=0",
        ],
    ]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for index, command in enumerate(commands):
            log = (folder / f"{Path(command[0]).name}.log").open("wb")
            started.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
            if index == 1:
                _wait_ready(port, folder / "kube-apiserver.log")
        yield kubeconfig
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_ready(port: int, log: Path) -> None:
    context = create_default_context()
    context.check_hostname, context.verify_mode = False, CERT_NONE
    request = urllib.request.Request(f"https://127.0.0.1:{port}/readyz", headers={"Authorization": f"Bearer {TOKEN}"})
    until = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(request, context=context, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.3)  # another process has no event for us
    raise TimeoutError(f"the API server is not ready: {log.read_text(errors='replace')[-2000:]}")


def _kubeconfig(port: int) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "real",
                    "cluster": {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True},
                }
            ],
            "users": [{"name": "admin", "user": {"token": TOKEN}}],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": "admin"}}],
            "current-context": "real",
        }
    )

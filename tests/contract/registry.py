"""A real registry (Debian's docker-registry) on a free port of loopback."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest
import trustme

# bcrypt of "secret": the registry takes no other kind.
HTPASSWD = "tuner:$2a$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
USER, PASSWORD = "tuner", "secret"


@contextmanager
def running_registry(folder: Path, *, htpasswd: str = "", certificate: trustme.LeafCert | None = None) -> Iterator[str]:
    """Yields HOST:PORT, which speaks TLS with a certificate. Skips the test where the program is not installed."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed (Debian: apt-get install docker-registry)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "blobs")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "for tests"},
    }
    if htpasswd:
        (folder / "htpasswd").write_text(htpasswd)
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    if certificate is not None:
        chain, key = folder / "chain.pem", folder / "key.pem"
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(str(chain), append=True)
        certificate.private_key_pem.write_to_path(str(key))
        config["http"] |= {"tls": {"certificate": str(chain), "key": str(key)}}
    path = folder / "config.yml"
    path.write_text(json.dumps(config))
    with subprocess.Popen(
        [program, "serve", str(path)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        try:
            _wait(f"http://127.0.0.1:{port}/v2/", process)  # one that speaks TLS answers this with 400
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def docker_config(folder: Path, registry: str, user: str = USER, password: str = PASSWORD) -> Path:
    """A docker configuration as a mounted Secret has it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    path.write_text(json.dumps({"auths": {registry: {"auth": auth}}}))
    return path


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except HTTPError:  # it asks who we are: it is there
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("docker-registry did not start")

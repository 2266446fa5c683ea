"""Downloads, pulls and pushes over HTTPS through a proxy that tunnels: each with the variables of a pod."""

from __future__ import annotations

import hashlib
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from tests.connect_proxy import ConnectProxy, running_proxy
from tests.contract.registry import HTPASSWD, docker_config, running_registry

BODY = bytes(range(256)) * 4096
WORLD = ("data.example", "registry.example")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def bundle(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="module")
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an HTTPS server that calls itself data.example, and leads /inside away."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "train.jsonl").write_bytes(BODY)

    class Files(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/inside":
                self.send_response(302)
                self.send_header("Location", "https://169.254.169.254/latest")
                self.end_headers()
                return
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Tests have no log."""

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("data.example").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(folder))) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def proxy(files: int) -> Iterator[ConnectProxy]:
    with running_proxy({"data.example:443": files}) as found:
        yield found


def kaito(proxy: str, bundle: Path | None, *words: object) -> subprocess.CompletedProcess[str]:
    """`python -m kaito.…` as in a pod behind the proxy."""
    environment = {**os.environ, "HTTPS_PROXY": proxy, "NO_PROXY": ""}
    if bundle is not None:  # the first is Python's, the second that of requests
        environment |= {"SSL_CERT_FILE": str(bundle), "REQUESTS_CA_BUNDLE": str(bundle)}
    command = [sys.executable, "-m", *(str(word) for word in words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def fetch(proxy: str, bundle: Path | None, folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    return kaito(proxy, bundle, "kaito.tuning.fetch", "--to", folder, "--url", url)


def test_a_file_comes_through_the_tunnel_by_a_name_that_only_the_proxy_knows(
    proxy: ConnectProxy, bundle: Path, tmp_path: Path
) -> None:
    digest = hashlib.sha256(BODY).hexdigest()
    run = fetch(proxy.url, bundle, tmp_path, f"https://data.example/train.jsonl#sha256={digest}")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "train.jsonl").read_bytes() == BODY
    assert proxy.asked == ["CONNECT data.example:443"]


def test_a_redirect_in_the_tunnel_does_not_lead_inside(proxy: ConnectProxy, bundle: Path, tmp_path: Path) -> None:
    run = fetch(proxy.url, bundle, tmp_path, "https://data.example/inside")
    assert run.returncode == 2 and "169.254.169.254 is a link-local address" in run.stderr
    assert proxy.asked == ["CONNECT data.example:443"]


def test_what_the_proxy_refuses_is_told_at_once(proxy: ConnectProxy, bundle: Path, tmp_path: Path) -> None:
    run = fetch(proxy.url, bundle, tmp_path, "https://elsewhere.example/train.jsonl")
    assert run.returncode == 2 and "the proxy refuses it: 403 Forbidden" in run.stderr
    run = fetch(f"http://{proxy.address}", bundle, tmp_path, "https://data.example/train.jsonl")
    assert run.returncode == 2 and "the proxy refuses it: 407 Proxy Authentication Required" in run.stderr
    assert len(proxy.asked) == 2


def test_a_certificate_that_nobody_vouches_for_is_told_at_once(proxy: ConnectProxy, tmp_path: Path) -> None:
    run = fetch(proxy.url, None, tmp_path, "https://data.example/train.jsonl")
    assert run.returncode == 2 and "data.example:443" in run.stderr and "certificate" in run.stderr
    assert len(proxy.asked) == 1 and not (tmp_path / "train.jsonl").exists()


def test_an_adapter_is_pushed_and_pulled_through_the_tunnel(
    authority: trustme.CA, bundle: Path, tmp_path: Path
) -> None:
    folder, there, back = tmp_path / "registry", tmp_path / "out", tmp_path / "back"
    folder.mkdir()
    there.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (there / name).write_text(name)
    (there / "fine_tuning_completed.txt").write_text("now")
    secrets = docker_config(tmp_path / "secret", "registry.example").parent
    certificate = authority.issue_cert("registry.example")
    with running_registry(folder, htpasswd=HTPASSWD, certificate=certificate) as address:
        with running_proxy({"registry.example:443": int(address.rpartition(":")[2])}) as proxy:
            image, auth = "--image=registry.example/org/a:1", f"--auth-dir={secrets}"
            pushed = kaito(proxy.url, bundle, "kaito.tuning.push", f"--output-dir={there}", image, auth)
            assert pushed.returncode == 0, pushed.stderr
            pulled = kaito(proxy.url, bundle, "kaito.oci", "pull", image, auth, "--path=data", f"--into={back}")
            assert pulled.returncode == 0, pulled.stderr
    assert sorted(path.name for path in back.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert set(proxy.asked) == {"CONNECT registry.example:443"}

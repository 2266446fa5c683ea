"""The configuration is loaded without the package's models, and whoever wants those still gets them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.kubeconfig import kubeconfig
from kaito.kube.configuration import load_configuration
from kaito.kube.errors import Unauthorized

SCRIPT = """
import asyncio, sys
from pathlib import Path
from kaito.kube.configuration import load_configuration
found = asyncio.run(load_configuration(Path(sys.argv[1])))
assert found.host == "http://127.0.0.1:1", found.host
assert not [name for name in sys.modules if name.startswith("kubernetes_asyncio.client.models")]
from kubernetes_asyncio import client, config
assert isinstance(found, client.Configuration) and client.CoreV1Api and config.load_kube_config
assert asyncio.run(load_configuration(Path(sys.argv[1]))).host == found.host
"""


def test_no_model_is_imported_and_the_whole_package_can_be_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(kubeconfig("http://127.0.0.1:1"))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


async def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unauthorized, match="nowhere"):
        await load_configuration(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"garbage", b"a: [", b"\xff\xfe", b"[1]", b"clusters: 5\ncurrent-context: x", b""])
async def test_a_file_that_is_no_kubeconfig_is_named_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kubeconfig").write_bytes(content)
    with pytest.raises(Unauthorized, match=r"(?s)no usable cluster configuration in .*kubeconfig: .*pass --kubeconfig"):
        await load_configuration(tmp_path / "kubeconfig")

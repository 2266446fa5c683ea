"""The API server that a command speaks to: which kubeconfig is meant, and a client for it."""

from __future__ import annotations

import os
from pathlib import Path

from kaito.kube.client import KubeClient


def find_kubeconfig(flag: str | None) -> Path:
    """The kubeconfig that is meant. Raises ValueError that says where it was looked for."""
    if flag:
        if not Path(flag).is_file():
            raise ValueError(f"--kubeconfig {flag!r}: no such file")
        return Path(flag)
    first = os.environ.get("KUBECONFIG", "").partition(os.pathsep)[0]
    places = [Path(first)] if first else []
    places += [Path(".kaito") / "kubeconfig", Path.home() / ".kube" / "config"]
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(str(place) for place in places)
    raise ValueError(f"no kubeconfig in {looked}: start a cluster with `kaito local up`, or name one with --kubeconfig")


async def open_client(kubeconfig: Path) -> KubeClient:
    """A client of that API server, to be closed by the caller. Imported late: it brings an HTTP client with it."""
    from kaito.kube.adapter import KubernetesAsyncioClient

    return await KubernetesAsyncioClient.connect(kubeconfig)

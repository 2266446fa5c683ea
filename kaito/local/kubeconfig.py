"""The kubeconfig of a local cluster: for its owner alone, and gone with the cluster."""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path

import yaml

CONTEXT = "kaito-local"


def write_kubeconfig(path: Path, *, server: str, token: str, ca_pem: str) -> None:
    """Writes the file whole, readable by nobody else."""
    cluster = {"server": server, "certificate-authority-data": b64encode(ca_pem.encode()).decode()}
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CONTEXT, "cluster": cluster}],
        "users": [{"name": CONTEXT, "user": {"token": token}}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT, "namespace": "default"}}],
        "current-context": CONTEXT,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        yaml.safe_dump(body, file, sort_keys=False)
    temporary.replace(path)

"""A kubeconfig for a server on loopback that asks for nothing."""

from __future__ import annotations

import json


def kubeconfig(server: str) -> str:
    """The text of the file."""
    cluster = {"name": "bench", "cluster": {"server": server}}
    context = {"name": "bench", "context": {"cluster": "bench", "user": "bench"}}
    user = {"name": "bench", "user": {"token": "none"}}
    config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context], "users": [user]}
    return json.dumps(config | {"current-context": "bench"})

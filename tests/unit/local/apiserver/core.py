"""A core with a counting uid source and a clock that stands still, and short ways to write to it."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

from kaito.api.crds import crds
from kaito.api.meta import Json
from kaito.local.apiserver import ApiServer, Resource

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make_server(emulate: tuple[int, int] = (1, 36), **options: Any) -> ApiServer:
    count = itertools.count()
    server = ApiServer(now=lambda: NOW, new_uid=lambda: f"uid-{next(count)}", emulate=emulate, **options)
    server.start()
    return server


def find(server: ApiServer, plural: str) -> Resource:
    return next(item for item in server.registry.all() if item.plural == plural)


def install_workspaces(server: ApiServer) -> Resource:
    server.create(find(server, "customresourcedefinitions"), "", crds()["kaito.sh_workspaces.yaml"])
    return server.registry.find("kaito.sh", "v1beta1", "workspaces")


def config_map(name: str, **data: str) -> Json:
    return {"metadata": {"name": name}, "data": data}


def pod(name: str, **metadata: Any) -> Json:
    return {"metadata": {"name": name, **metadata}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}


def workspace(name: str = "ws") -> Json:
    resource = {"instanceType": "Standard_NC24ads_A100_v4", "labelSelector": {"matchLabels": {"apps": "phi"}}}
    return {"metadata": {"name": name}, "resource": resource, "inference": {"preset": {"name": "phi-3.5"}}}


def stateful_set(name: str, container: Json | None = None, **metadata: Any) -> Json:
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i:1", **(container or {})}]},
    }
    spec = {"serviceName": "h", "selector": {"matchLabels": {"a": "b"}}, "template": template}
    return {"metadata": {"name": name, **metadata}, "spec": spec}


def owner(kind: str, api_version: str, obj: Json, **more: Any) -> Json:
    metadata = obj["metadata"]
    return {"apiVersion": api_version, "kind": kind, "name": metadata["name"], "uid": metadata["uid"], **more}

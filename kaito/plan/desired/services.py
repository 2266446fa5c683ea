"""The two Services of an inference Workspace: the one that users call, and the headless one that gives pods names."""

from __future__ import annotations

from kaito.api.core import SERVICE
from kaito.api.meta import Json, ObjectRef
from kaito.api.names import LABEL_WORKSPACE, headless_service_name
from kaito.plan.ownership import child_head
from kaito.plan.ports import HTTP_PORT, KV_EVENTS_PORT, RAY_DASHBOARD_PORT, RAY_PORT, SERVER_PORT


def inference_service(root: ObjectRef, owner: Json, *, is_load_balancer: bool, is_vllm: bool) -> Json:
    """The Service of the Workspace's name: port 80 reaches the leader's server.

    It publishes addresses that are not ready, because the pods of a multi-node server find their leader through it. The
    KV event stream is not put on a load balancer: it has no authentication.
    """
    ports = [
        _port("http", HTTP_PORT, SERVER_PORT),
        _port("ray", RAY_PORT, RAY_PORT),
        _port("dashboard", RAY_DASHBOARD_PORT, RAY_DASHBOARD_PORT),
    ]
    if is_vllm and not is_load_balancer:
        ports.append(_port("kv-events", KV_EVENTS_PORT, KV_EVENTS_PORT))
    spec: Json = {
        "type": "LoadBalancer" if is_load_balancer else "ClusterIP",
        "selector": {LABEL_WORKSPACE: root.name, "statefulset.kubernetes.io/pod-name": f"{root.name}-0"},
        "publishNotReadyAddresses": True,
        "ports": ports,
    }
    return _service(root, root.name, owner, spec)


def headless_service(root: ObjectRef, owner: Json) -> Json:
    """The governing Service of the StatefulSet: DNS names for its pods, no port."""
    spec = {
        "type": "ClusterIP",
        "clusterIP": "None",
        "selector": {LABEL_WORKSPACE: root.name},
        "publishNotReadyAddresses": True,
    }
    return _service(root, headless_service_name(root.name), owner, spec)


def _service(root: ObjectRef, name: str, owner: Json, spec: Json) -> Json:
    return child_head(SERVICE, root, owner, {LABEL_WORKSPACE: root.name}, name=name) | {"spec": spec}


def _port(name: str, port: int, target: int) -> Json:
    return {"name": name, "protocol": "TCP", "port": port, "targetPort": target}

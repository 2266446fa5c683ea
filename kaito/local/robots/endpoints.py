"""The Endpoints controller: which pod addresses stand behind a Service."""

from __future__ import annotations

from collections.abc import Iterable

from kaito.api.core import ENDPOINTS, POD, SERVICE
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.local.robots.workload_pods import is_over, is_ready
from kaito.local.robots.world import World, is_deleting


class EndpointsController:
    name = "endpoints"
    kinds: tuple[ResourceKind, ...] = (SERVICE, POD, ENDPOINTS)

    def __init__(self, world: World) -> None:
        self._world = world

    def keys(self, kind: ResourceKind, old: Json | None, new: Json | None) -> Iterable[ObjectRef]:
        obj = new or old or {}
        namespace = obj["metadata"].get("namespace", "")
        if kind in (SERVICE, ENDPOINTS):
            yield SERVICE.ref(namespace, obj["metadata"]["name"])
            return
        for service in self._world.all(SERVICE, namespace) if self._world.knows(SERVICE) else ():
            if any(pod is not None and selects(service, pod) for pod in (old, new)):
                yield SERVICE.ref(namespace, service["metadata"]["name"])

    async def reconcile(self, key: ObjectRef) -> float | None:
        service = self._world.find(SERVICE, key)
        found = self._world.get(ENDPOINTS, key.namespace, key.name)
        if service is None:
            if found is not None and not is_deleting(found):
                await self._world.delete(ENDPOINTS, found)
            return None
        if is_deleting(service) or not (service["spec"].get("selector") or {}):
            return None  # without a selector the Endpoints are the user's
        subsets = self._subsets(service)
        if found is None:
            await self._world.create(ENDPOINTS, _endpoints(service, subsets))
        elif (found.get("subsets") or []) != subsets:
            await self._world.patch(ENDPOINTS, found, {"subsets": subsets or None})
        return None

    def _subsets(self, service: Json) -> list[Json]:
        namespace = service["metadata"]["namespace"]
        pods = [pod for pod in self._world.all(POD, namespace) if selects(service, pod) and _has_address(pod)]
        publishes_all = bool(service["spec"].get("publishNotReadyAddresses"))
        ready = [_address(pod) for pod in pods if publishes_all or is_ready(pod)]
        unready = [_address(pod) for pod in pods if not (publishes_all or is_ready(pod))]
        if not pods:
            return []
        subset: Json = {"ports": [_port(port, pods[0]) for port in service["spec"].get("ports") or []]}
        if not subset["ports"]:
            del subset["ports"]
        if ready:
            subset["addresses"] = ready
        if unready:
            subset["notReadyAddresses"] = unready
        return [subset]


def selects(service: Json, pod: Json) -> bool:
    """Whether the Service's selector, which must not be empty, matches the pod."""
    selector, labels = service["spec"].get("selector") or {}, pod["metadata"].get("labels") or {}
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def _has_address(pod: Json) -> bool:
    return bool((pod.get("status") or {}).get("podIP")) and not is_over(pod) and not is_deleting(pod)


def _address(pod: Json) -> Json:
    meta = pod["metadata"]
    target = {"kind": POD.kind, "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}
    address = {"ip": pod["status"]["podIP"], "nodeName": pod["spec"]["nodeName"], "targetRef": target}
    return address | ({"hostname": pod["spec"]["hostname"]} if pod["spec"].get("hostname") else {})


def _port(port: Json, pod: Json) -> Json:
    target = port.get("targetPort", port["port"])
    number = target if isinstance(target, int) else container_port(pod, str(target)) or port["port"]
    named = {"name": port["name"]} if port.get("name") else {}
    return named | {"port": number, "protocol": port.get("protocol", "TCP")}


def container_port(pod: Json, name: str) -> int | None:
    """The number of a named container port."""
    for container in pod["spec"].get("containers") or []:
        for port in container.get("ports") or []:
            if port.get("name") == name:
                return int(port["containerPort"])
    return None


def _endpoints(service: Json, subsets: list[Json]) -> Json:
    meta = service["metadata"]
    body: Json = {
        "apiVersion": ENDPOINTS.api_version,
        "kind": ENDPOINTS.kind,
        "metadata": {"name": meta["name"], "namespace": meta["namespace"], "labels": meta.get("labels") or {}},
    }
    return body | ({"subsets": subsets} if subsets else {})

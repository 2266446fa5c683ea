"""What a pod reads from ConfigMaps and Secrets: by value for its environment, by file for its mounts."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from kaito.api.core import CONFIG_MAP, SECRET
from kaito.api.meta import Json, ResourceKind
from kaito.kube.client import KubeClient
from kaito.kube.errors import NotFound

KINDS: dict[str, ResourceKind] = {"configmap": CONFIG_MAP, "secret": SECRET}


@dataclass(frozen=True, slots=True)
class Reference:
    """One ConfigMap or Secret; `key` is empty where the whole object is read."""

    kind: Literal["configmap", "secret"]
    name: str
    key: str = ""
    is_optional: bool = False


def references_of(pod: Json) -> Iterator[Reference]:
    """Everything that the pod's containers and volumes read, in the order of the spec."""
    spec = pod["spec"]
    for container in (*(spec.get("initContainers") or []), *(spec.get("containers") or [])):
        for variable in container.get("env") or []:
            yield from _of_variable(variable.get("valueFrom") or {})
        for source in container.get("envFrom") or []:
            yield from _whole(source.get("configMapRef"), "configmap", "name")
            yield from _whole(source.get("secretRef"), "secret", "name")
    for volume in spec.get("volumes") or []:
        yield from references_of_volume(volume)


def references_of_volume(volume: Json) -> Iterator[Reference]:
    yield from _whole(volume.get("configMap"), "configmap", "name")
    yield from _whole(volume.get("secret"), "secret", "secretName")
    for source in (volume.get("projected") or {}).get("sources") or []:
        yield from _whole(source.get("configMap"), "configmap", "name")
        yield from _whole(source.get("secret"), "secret", "name")


def _of_variable(value_from: Json) -> Iterator[Reference]:
    kinds: tuple[tuple[str, Literal["configmap", "secret"]], ...] = (
        ("configMapKeyRef", "configmap"),
        ("secretKeyRef", "secret"),
    )
    for field, kind in kinds:
        if source := value_from.get(field):
            yield Reference(kind, source["name"], source["key"], bool(source.get("optional")))


def _whole(source: Json | None, kind: Literal["configmap", "secret"], name_field: str) -> Iterator[Reference]:
    if source:
        yield Reference(kind, source[name_field], "", bool(source.get("optional")))


async def read_reference(client: KubeClient, namespace: str, reference: Reference) -> dict[str, bytes] | None:
    """The object's keys and values; None where it does not exist."""
    kind = KINDS[reference.kind]
    try:
        found = await client.read(kind, kind.ref(namespace, reference.name))
    except NotFound:
        return None
    binary = found.get("binaryData") if reference.kind == "configmap" else found.get("data")
    values = {key: b64decode(text) for key, text in (binary or {}).items()}
    if reference.kind == "configmap":
        values |= {key: text.encode() for key, text in (found.get("data") or {}).items()}
    return values


async def missing_reference(client: KubeClient, pod: Json) -> str:
    """The kubelet's words for the first thing that a container cannot start without; empty when all is there."""
    namespace = pod["metadata"]["namespace"]
    read: dict[tuple[str, str], dict[str, bytes] | None] = {}
    for reference in references_of(pod):
        if reference.is_optional:
            continue
        identity = (reference.kind, reference.name)
        if identity not in read:
            read[identity] = await read_reference(client, namespace, reference)
        values = read[identity]
        if values is None:
            return f'{reference.kind} "{reference.name}" not found'
        if reference.key and reference.key not in values:
            kind = "ConfigMap" if reference.kind == "configmap" else "Secret"
            return f"couldn't find key {reference.key} in {kind} {namespace}/{reference.name}"
    return ""

"""references: the Secrets, ConfigMaps and claims that a workload's pods ask for, read off the pods themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kaito.api.core import CONFIG_MAP, PERSISTENT_VOLUME_CLAIM, SECRET
from kaito.api.meta import Json, ObjectRef


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """`key` is empty where the whole object is meant. `is_optional`: pods start without it."""

    ref: ObjectRef
    key: str = ""
    is_optional: bool = False

    def __str__(self) -> str:
        what = f"{self.ref.kind} {self.ref.name}"
        return f"{what} with the key {self.key}" if self.key else what


def references(body: Json) -> tuple[Reference, ...]:
    """What the pods of this workload ask for, in order; empty for other kinds."""
    template = body.get("spec", {}).get("template") if isinstance(body.get("spec"), dict) else None
    pod = template.get("spec") if isinstance(template, dict) else None
    if not isinstance(pod, dict):
        return ()
    namespace = body["metadata"].get("namespace", "")
    own = {claim["metadata"]["name"] for claim in body["spec"].get("volumeClaimTemplates") or ()}
    return tuple(sorted({one for one in _of_pod(pod, namespace) if one.ref.name not in own}))


def _of_pod(pod: Json, namespace: str) -> Iterator[Reference]:
    for secret in _maps(pod.get("imagePullSecrets")):
        yield Reference(SECRET.ref(namespace, secret.get("name", "")))
    for container in (*_maps(pod.get("initContainers")), *_maps(pod.get("containers"))):
        for variable in _maps(container.get("env")):
            source = variable.get("valueFrom") or {}
            for field, kind in (("secretKeyRef", SECRET), ("configMapKeyRef", CONFIG_MAP)):
                if found := source.get(field):
                    optional = bool(found.get("optional"))
                    yield Reference(kind.ref(namespace, found.get("name", "")), found.get("key", ""), optional)
        for source in _maps(container.get("envFrom")):
            for field, kind in (("secretRef", SECRET), ("configMapRef", CONFIG_MAP)):
                if found := source.get(field):
                    yield Reference(kind.ref(namespace, found.get("name", "")), "", bool(found.get("optional")))
    for volume in _maps(pod.get("volumes")):
        yield from _of_volume(volume, namespace)


def _of_volume(volume: Json, namespace: str) -> Iterator[Reference]:
    if claim := volume.get("persistentVolumeClaim"):
        yield Reference(PERSISTENT_VOLUME_CLAIM.ref(namespace, claim.get("claimName", "")))
    sources = [volume, *_maps((volume.get("projected") or {}).get("sources"))]
    for source in sources:
        for field, kind in (("secret", SECRET), ("configMap", CONFIG_MAP)):
            if found := source.get(field):
                ref = kind.ref(namespace, found.get("secretName") or found.get("name", ""))
                items = _maps(found.get("items")) or [{}]
                yield from (Reference(ref, item.get("key", ""), bool(found.get("optional"))) for item in items)


def _maps(found: Any) -> list[Json]:
    """The entries of a list that are maps: templates are the users' own."""
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []

"""LoRA adapters: each a folder under one directory that the server looks through, from a volume or from an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kaito.api.meta import Json
from kaito.plan.pods.images import PulledImage, pulled, volume_name
from kaito.plan.pods.part import PodPart, together

ADAPTERS_DIR = "/mnt/adapter"


@dataclass(frozen=True, slots=True)
class Adapter:
    """Exactly one of `volume` (a core/v1 VolumeSource) and `image`. `strength`: 0 to 1 as text, empty for all of it."""

    name: str
    volume: Mapping[str, object] | None = None
    image: str = ""
    pull_secrets: tuple[str, ...] = ()
    strength: str = ""


def adapters_part(adapters: Sequence[Adapter], *, puller: str, uses_image_volumes: bool) -> PodPart:
    """What the pod needs for all of them. A strength is handed over as a variable of the adapter's name."""
    parts = [_one(adapter, puller, uses_image_volumes) for adapter in sorted(adapters, key=lambda each: each.name)]
    return together([*parts, PodPart(env=tuple(_strength(each) for each in adapters if each.strength))])


def _one(adapter: Adapter, puller: str, uses_image_volumes: bool) -> PodPart:
    target = f"{ADAPTERS_DIR}/{adapter.name}"
    if adapter.volume is not None:
        name = volume_name(adapter.name)
        mount = {"name": name, "mountPath": target, "readOnly": True}
        return PodPart(({"name": name, **adapter.volume},), (mount,))
    image = PulledImage(adapter.name, adapter.image, target, adapter.pull_secrets)
    return pulled(image, puller=puller, uses_volumes=uses_image_volumes)


def _strength(adapter: Adapter) -> Json:
    return {"name": adapter.name, "value": adapter.strength}

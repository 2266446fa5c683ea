"""What pods were made with: an upgrade of the operator, or of the cluster, restarts no server that nobody changed.

The pod template that we want follows from what users ask for, and from us: default images, flags, probes, what the
server understands. Only the former is a reason to restart pods. So a workload carries a hash of what it was made for
and the template that it was made with; while the hash is the same, that template stays, whatever this version of the
operator would write today. Hand edits are repaired against it. An older operator finds the same hash and keeps the
template as well, so that a version can also be taken back.

A user asks for today's template by any change of the spec, or by the label kaito.sh/upgrade-to-version with the tag of
our image; an InferenceSet with autoUpgrade sets it on one replica after the other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from typing import Any

import msgspec

from kaito.api.meta import Json
from kaito.api.names import MADE_AS_ANNOTATION, MADE_FOR_ANNOTATION, UPGRADE_LABEL
from kaito.api.workloads import Child
from kaito.plan.roots import RootMeta

MADE_AS_CHARS_MAX = 96 << 10  # a server takes 256 KiB of annotations; the template of a user may be any size
TEMPLATE_BYTES_MAX = 4 << 20


def made_for(inputs: Json) -> str:
    """A hash of what users ask for. It must never change its meaning: every version of the operator compares it."""
    return hashlib.sha256(msgspec.json.encode(inputs, order="sorted")).hexdigest()[:16]


def as_born(desired: Json, observed: Child | None, *, inputs: Json, is_upgrade_asked: bool) -> Json:
    """The workload with the pod template that it was made with, unless somebody asks for another."""
    wanted_for, template = made_for(inputs), desired["spec"]["template"]
    marks = {MADE_FOR_ANNOTATION: wanted_for} | _packed(template)
    before = observed.metadata if observed is not None and not is_upgrade_asked else None
    if before is not None and before.annotation(MADE_FOR_ANNOTATION) == wanted_for:
        text = before.annotation(MADE_AS_ANNOTATION) or ""
        if text != marks.get(MADE_AS_ANNOTATION) and (kept := _unpacked(text)):
            template, marks = kept, marks | {MADE_AS_ANNOTATION: text}
    metadata = desired["metadata"]
    annotations = (metadata.get("annotations") or {}) | marks
    spec = desired["spec"] | {"template": template}
    return desired | {"metadata": metadata | {"annotations": annotations}, "spec": spec}


def is_upgrade_asked(root: RootMeta, image: str) -> bool:
    """Whether the root's label names this image's tag."""
    return root.labels.get(UPGRADE_LABEL) == tag_of(image)


def tag_of(image: str) -> str:
    return image.rpartition(":")[2]


def image_of(workload: Child | None) -> str:
    """The server's image; empty where there is no workload."""
    if workload is None:
        return ""
    containers = workload.spec.get("template", {}).get("spec", {}).get("containers") or [{}]
    return str(containers[0].get("image", ""))


def _packed(template: Json) -> dict[str, str]:
    text = base64.b64encode(zlib.compress(msgspec.json.encode(template, order="sorted"), 9)).decode()
    return {MADE_AS_ANNOTATION: text} if len(text) <= MADE_AS_CHARS_MAX else {}


def _unpacked(text: str) -> Json | None:
    """None where there is nothing, or nothing that can be read."""
    if not text:
        return None
    try:
        inflater = zlib.decompressobj()
        found: Any = msgspec.json.decode(inflater.decompress(base64.b64decode(text, validate=True), TEMPLATE_BYTES_MAX))
    except (binascii.Error, zlib.error, msgspec.DecodeError):
        return None
    return found if isinstance(found, dict) and found else None

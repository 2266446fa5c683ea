"""Pods of workload controllers: made from a template, found by their controller, judged ready or over."""

from __future__ import annotations

from copy import deepcopy
from hashlib import sha256

import msgspec

from kaito.api.core import POD
from kaito.api.meta import Json, ResourceKind
from kaito.local.robots.status import is_condition_true
from kaito.local.robots.world import is_deleting

SAFE_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # of the suffixes that controllers make: no vowels, no words


def pod_from_template(template: Json, name: str, owner_kind: ResourceKind, owner: Json, labels: dict[str, str]) -> Json:
    """A pod of this name that the owner controls; `labels` are added to the template's."""
    meta, template = owner["metadata"], deepcopy(template)
    given = template.get("metadata") or {}
    pod: Json = {
        "apiVersion": POD.api_version,
        "kind": POD.kind,
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": (given.get("labels") or {}) | labels,
            "ownerReferences": [owner_reference(owner_kind, owner)],
        },
        "spec": template.get("spec") or {},
    }
    for key in ("annotations", "finalizers"):
        if given.get(key):
            pod["metadata"][key] = given[key]
    return pod


def owner_reference(kind: ResourceKind, owner: Json) -> Json:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def template_hash(template: Json) -> str:
    """Ten characters that change when the template does."""
    digest = int.from_bytes(sha256(msgspec.json.encode(template, order="sorted")).digest()[:8])
    return suffix_of(digest, 10)


def suffix_of(number: int, length: int) -> str:
    text = ""
    for _ in range(length):
        number, index = divmod(number, len(SAFE_ALPHABET))
        text += SAFE_ALPHABET[index]
    return text


def phase(pod: Json) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def is_over(pod: Json) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def is_ready(pod: Json) -> bool:
    return not is_deleting(pod) and is_condition_true(pod, "Ready")


def replicas_of(workload: Json) -> int:
    count = (workload["spec"]).get("replicas")
    return 1 if count is None else int(count)

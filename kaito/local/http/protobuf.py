"""Kubernetes' protobuf bodies of built-in kinds, as JSON: kubectl 1.33 and newer sends them from `create` and `drain`.

Answers are JSON always: every client that sends protobuf reads it too. Names and numbers of fields are in
protobuf_fields.csv, made by .ci/protobuf_fields.py. Go sends fields without a pointer even when they are zero, and the
wire does not tell them from pointers to zero: zeros are kept only for the fields of KEPT_ZEROS.
"""

from __future__ import annotations

import base64
import csv
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple, TypeAlias

import msgspec

from kaito.api.meta import Json
from kaito.clock import rfc3339
from kaito.local.apiserver.errors import bad_request

PROTOBUF = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\0"
NESTING_MAX = 64
Value: TypeAlias = int | bytes

# Embedded Go structs: messages on the wire, part of their parent in JSON.
INLINE = frozenset(("volumeSource", "handler", "ephemeralContainerCommon", "localObjectReference", "rule"))
RENAMED = {"Webhooks": "webhooks"}
# Numbers and truths behind a pointer, where zero is something else than nothing.
KEPT_ZEROS = frozenset(
    """replicas parallelism completions backoffLimit terminationGracePeriodSeconds gracePeriodSeconds partition
    activeDeadlineSeconds ttlSecondsAfterFinished revisionHistoryLimit deletionGracePeriodSeconds runAsUser runAsGroup
    fsGroup tolerationSeconds defaultMode mode priority automountServiceAccountToken enableServiceLinks
    allowPrivilegeEscalation privileged readOnlyRootFilesystem runAsNonRoot optional controller blockOwnerDeletion
    immutable suspend shareProcessNamespace hostUsers orphanDependents manualSelector setHostnameAsFQDN
    allowVolumeExpansion allocateLoadBalancerNodePorts ready serving leaseDurationSeconds leaseTransitions""".split()  # noqa: SIM905 (a table of words)
)


class Field(NamedTuple):
    name: str
    type: str
    shape: str  # one, list or map


@cache
def _messages() -> dict[str, dict[int, Field]]:
    found: dict[str, dict[int, Field]] = {}
    text = files("kaito.local.http").joinpath("protobuf_fields.csv").read_text()
    for row in csv.DictReader(text.splitlines()):
        field = Field(RENAMED.get(row["field"], row["field"]), row["type"], row["shape"])
        found.setdefault(row["message"], {})[int(row["number"])] = field
    return found


def decode_protobuf(body: bytes) -> Json:
    """The object in a body. Raises StatusError 400 for what is none, and for kinds that are not known here."""
    if not body.startswith(MAGIC):
        raise bad_request(f"the body is not {PROTOBUF}: it does not begin with {MAGIC!r}")
    try:
        envelope = dict(_fields(body[len(MAGIC) :]))
        type_meta = dict(_fields(_bytes(envelope.get(1, b""))))
        api_version, kind = (_bytes(type_meta.get(number, b"")).decode() for number in (1, 2))
        message = _message_of(api_version, kind)
        found = _decode(_bytes(envelope.get(2, b"")), message, 0)
    except (IndexError, UnicodeDecodeError, ValueError, struct.error, OverflowError) as error:
        raise bad_request(f"the body is not {PROTOBUF}: {error}") from error
    return {"apiVersion": api_version, "kind": kind} | found


def _message_of(api_version: str, kind: str) -> str:
    group, _, version = api_version.rpartition("/")
    name = f"{group.partition('.')[0] or 'core'}.{version}.{kind}"
    for candidate in (name, f"meta.v1.{kind}"):
        if candidate in _messages():
            return candidate
    raise bad_request(f"{kind} in version {api_version!r} is not read as protobuf here: send JSON")


def _bytes(value: Value) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message was expected")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Number and value of every field on the wire. Raises IndexError or ValueError when it breaks off."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        match key & 7:
            case 0:
                value, place = _varint(data, place)
                yield key >> 3, value
            case 1 | 5:
                size = 8 if key & 7 == 1 else 4
                yield key >> 3, data[place : place + size]
                place += size
            case 2:
                length, place = _varint(data, place)
                if place + length > len(data):
                    raise IndexError("it breaks off")
                yield key >> 3, data[place : place + length]
                place += length
            case other:
                raise ValueError(f"wire type {other}")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number of more than 64 bits")


def _decode(data: bytes, message: str, depth: int) -> Json:
    if depth > NESTING_MAX:
        raise ValueError("it is nested too deeply")
    known = _messages()[message]
    found: Json = {}
    for number, value in _fields(data):
        field = known.get(number)
        if field is None:
            continue  # of a newer Kubernetes
        if field.shape == "map":
            entry = dict(_fields(_bytes(value)))
            key = _bytes(entry.get(1, b"")).decode()
            found.setdefault(field.name, {})[key] = _value(entry.get(2, b""), field.type, depth)
        elif field.shape == "list":
            found.setdefault(field.name, []).append(_value(value, field.type, depth))
        elif field.name in INLINE:
            found |= _decode(_bytes(value), field.type, depth + 1)
        elif not _is_nothing(decoded := _value(value, field.type, depth), field):
            found[field.name] = decoded
    return found


def _is_nothing(value: Any, field: Field) -> bool:
    """Whether the value is what Go sends for a field that was not set."""
    if value is None or value == "":
        return True
    if field.name == "targetPort":
        return bool(value == 0)
    return not value and isinstance(value, bool | int | float) and field.name not in KEPT_ZEROS


def _value(value: Value, type_: str, depth: int) -> Any:
    match type_:
        case "string":
            return _bytes(value).decode()
        case "bytes":
            return base64.b64encode(_bytes(value)).decode()
        case "bool":
            return bool(value)
        case "int":
            return _signed(value)
        case "double":
            return struct.unpack("<d", _bytes(value))[0]
        case "api.resource.Quantity":
            return _bytes(dict(_fields(_bytes(value))).get(1, b"")).decode()
        case "util.intstr.IntOrString":
            parts = dict(_fields(_bytes(value)))
            return _bytes(parts.get(3, b"")).decode() if parts.get(1) else _signed(parts.get(2, 0))
        case "meta.v1.Time" | "meta.v1.MicroTime":
            return _time(dict(_fields(_bytes(value))), has_fraction=type_.endswith("MicroTime"))
        case "meta.v1.FieldsV1" | "pkg.runtime.RawExtension":
            raw = _bytes(dict(_fields(_bytes(value))).get(1, b""))
            return msgspec.json.decode(raw) if raw else None
        case _:
            return _decode(_bytes(value), type_, depth + 1)


def _signed(value: Value) -> int:
    if not isinstance(value, int):
        raise ValueError("a message where a number was expected")
    return value - (1 << 64) if value >= 1 << 63 else value


def _time(parts: dict[int, Value], *, has_fraction: bool) -> str | None:
    if not parts.get(1):
        return None
    moment = datetime.fromtimestamp(_signed(parts[1]), UTC)
    if not has_fraction:
        return rfc3339(moment)
    return rfc3339(moment).removesuffix("Z") + f".{_signed(parts.get(2, 0)) // 1_000:06d}Z"


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field, for the little that is sent as protobuf."""
    return _as_varint(number << 3 | 2) + _as_varint(len(value)) + value


def _as_varint(value: int) -> bytes:
    found = bytearray()
    while True:
        found.append(value & 127 | (128 if value > 127 else 0))
        value >>= 7
        if not value:
            return bytes(found)

"""Prints kaito/local/http/protobuf_fields.csv: names, numbers and types of the fields of Kubernetes' protobuf messages.

    python .ci/protobuf_fields.py KUBECTL > kaito/local/http/protobuf_fields.csv

They are read from the descriptors that kubectl up to 1.34 carries. Needed again only for kinds that the local cluster
does not serve yet: numbers of fields never change.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

BYTES_MAX = 1 << 20
ROOTS = """
core.v1.Namespace core.v1.Node core.v1.Pod core.v1.Service core.v1.Endpoints core.v1.ConfigMap core.v1.Secret
core.v1.Event core.v1.ServiceAccount core.v1.PersistentVolumeClaim core.v1.Binding apps.v1.StatefulSet
apps.v1.Deployment apps.v1.ReplicaSet apps.v1.DaemonSet apps.v1.ControllerRevision batch.v1.Job
coordination.v1.Lease storage.v1.StorageClass policy.v1.PodDisruptionBudget policy.v1.Eviction
autoscaling.v1.Scale admissionregistration.v1.ValidatingWebhookConfiguration
admissionregistration.v1.MutatingWebhookConfiguration meta.v1.DeleteOptions
""".split()  # noqa: SIM905 (a table of words)
TYPES = {1: "double", 2: "float", 3: "int", 5: "int", 4: "int", 13: "int", 8: "bool", 9: "string", 12: "bytes"}
MESSAGE, REPEATED = 11, 3


class Field(NamedTuple):
    number: int
    name: str
    type: str
    shape: str  # one, list or map


def fields_of(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and value of every field of a message."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            length = varint()
            yield key >> 3, data[place : place + length]
            place += length


def values(message: bytes, number: int) -> list[bytes]:
    return [value for at, value in fields_of(message) if at == number and isinstance(value, bytes)]


def integer(message: bytes, number: int) -> int:
    return next((value for at, value in fields_of(message) if at == number and isinstance(value, int)), 0)


def text(message: bytes, number: int) -> str:
    return next((value.decode() for value in values(message, number)), "")


def short(name: str) -> str:
    """`core.v1.Pod` of `.k8s.io.api.core.v1.Pod`."""
    return ".".join(name.split(".")[-3:])


def descriptors(binary: bytes) -> Iterator[bytes]:
    for match in re.finditer(b"\x1f\x8b\x08", binary):
        unpacker = zlib.decompressobj(31)
        try:
            found = unpacker.decompress(binary[match.start() : match.start() + BYTES_MAX])
        except zlib.error:
            continue
        if unpacker.eof and b"k8s.io/api" in found[:100] and b".proto" in found[:120]:
            yield found


def messages(binary: bytes) -> dict[str, list[Field]]:
    found: dict[str, list[Field]] = {}
    for file in descriptors(binary):
        package = text(file, 2)
        for message in values(file, 4):
            entries = {text(nested, 1): nested for nested in values(message, 3)}
            found[short(f"{package}.{text(message, 1)}")] = [field(one, entries) for one in values(message, 2)]
    return found


def field(one: bytes, entries: dict[str, bytes]) -> Field:
    type_, shape = kind(one), "list" if integer(one, 4) == REPEATED else "one"
    entry = entries.get(text(one, 6).rpartition(".")[2])
    if entry is not None:
        type_, shape = kind(values(entry, 2)[1]), "map"
    return Field(integer(one, 3), text(one, 1), type_, shape)


def kind(one: bytes) -> str:
    return short(text(one, 6)) if integer(one, 5) == MESSAGE else TYPES[integer(one, 5)]


def main() -> None:
    known = messages(Path(sys.argv[1]).read_bytes())
    waiting, seen = list(ROOTS), set[str]()
    while waiting:
        name = waiting.pop()
        if name not in seen and name in known:
            seen.add(name)
            waiting += [one.type for one in known[name]]
    print("message,number,field,type,shape")
    for name in sorted(seen):
        for one in sorted(known[name]):
            print(f"{name},{one.number},{one.name},{one.type},{one.shape}")


main()

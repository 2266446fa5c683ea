"""Protobuf bodies: what kubectl sends is read, whatever else is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.local.apiserver import StatusError
from kaito.local.http.protobuf import MAGIC, PROTOBUF, decode_protobuf, field
from tests.unit.local.http.face import face

# What kubectl 1.37 sends for `create namespace foo`.
NAMESPACE = bytes.fromhex(
    "6b3873000a0f0a02763112094e616d657370616365121b0a130a03666f6f12001a0022002a0032003800420012001a020a001a002200"
)


def number(at: int, value: int) -> bytes:
    return bytes([at << 3, value])


def text(at: int, value: str) -> bytes:
    return field(at, value.encode())


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    return MAGIC + field(1, text(1, api_version) + text(2, kind)) + field(2, raw)


def test_the_namespace_of_a_real_kubectl() -> None:
    assert decode_protobuf(NAMESPACE) == {
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "foo"}, "spec": {}, "status": {},
    }  # fmt: skip


def deployment() -> bytes:
    request = field(1, text(1, "memory") + field(2, text(1, "1Gi")))
    variable = text(1, "TOKEN") + field(3, field(4, field(1, text(1, "s")) + text(2, "key")))
    get = text(1, "/health") + field(2, number(1, 0) + number(2, 80))
    probe = field(1, field(2, get)) + number(2, 5)
    container = (
        text(1, "main") + text(2, "image:1") + field(6, text(1, "") + number(2, 0) + number(3, 80))
        + field(7, variable) + field(8, request) + field(11, probe)
    )  # fmt: skip
    volume = text(1, "config") + field(2, field(19, field(1, text(1, "settings")) + number(3, 0)))
    pod = field(1, volume) + field(2, container) + number(4, 0)
    template = field(1, field(11, text(1, "app") + text(2, "web"))) + field(2, pod)
    return envelope("apps/v1", "Deployment", field(1, text(1, "web")) + field(2, number(1, 0) + field(3, template)))


def test_embedded_structs_maps_quantities_ports_and_zeros_behind_pointers() -> None:
    found = decode_protobuf(deployment())
    assert found["spec"]["replicas"] == 0
    template = found["spec"]["template"]
    assert template["metadata"]["labels"] == {"app": "web"}
    assert template["spec"] == {
        "volumes": [{"name": "config", "configMap": {"name": "settings", "defaultMode": 0}}],
        "containers": [
            {
                "name": "main",
                "image": "image:1",
                "ports": [{"containerPort": 80}],
                "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}}],
                "resources": {"limits": {"memory": "1Gi"}},
                "readinessProbe": {"httpGet": {"path": "/health", "port": 80}, "initialDelaySeconds": 5},
            }
        ],
        "terminationGracePeriodSeconds": 0,
    }


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", NAMESPACE[:-8],
     MAGIC + b"\x0a\xff", envelope("v1", "Nothing", b""), envelope("v1", "Pod", b"\x0a\x05ab"),
     envelope("v1", "Pod", b"\x08\x01"), MAGIC + b"\x0b"],
)  # fmt: skip
def test_what_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(StatusError) as caught:
        decode_protobuf(body)
    assert caught.value.code == 400


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_refused(raw: bytes) -> None:
    try:
        found: Any = decode_protobuf(envelope("v1", "Pod", raw))
    except StatusError as error:
        assert error.code == 400
    else:
        assert found["kind"] == "Pod"


async def test_the_api_takes_them() -> None:
    async with face() as api:
        async with api.request(
            "POST", "/api/v1/namespaces", data=NAMESPACE, headers={"Content-Type": PROTOBUF}
        ) as found:
            assert found.status == 201
            assert (await found.json())["status"] == {"phase": "Active"}

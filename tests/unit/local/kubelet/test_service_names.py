"""A URL that names a Service reaches a process as the address where the Service listens."""

from __future__ import annotations

import pytest

from kaito.local.kubelet.service_names import nowhere, with_addresses

LISTENING = {("default", "phi", 80): "127.89.0.1:8080", ("apps", "db", 6333): "127.89.0.2:6333"}


async def address_of(namespace: str, name: str, port: int, *, may_come: bool) -> str:
    known = LISTENING.get((namespace, name, port), "")
    return known or (f"127.89.9.9:{port}" if may_come else "")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://phi/v1/chat/completions", "http://127.89.0.1:8080/v1/chat/completions"),
        ("--url=http://phi", "--url=http://127.89.0.1:8080"),
        ("http://phi.default.svc:80/x", "http://127.89.0.1:8080/x"),
        ("http://phi.default.svc.cluster.local/x", "http://127.89.0.1:8080/x"),
        ("http://db.apps:6333", "http://127.89.0.2:6333"),
        ("http://phi/a,http://db.apps.svc:6333/b", "http://127.89.0.1:8080/a,http://127.89.0.2:6333/b"),
        ("http://later/v1", "http://127.89.9.9:80/v1"),
        ("postgresql://later:5432/x", "postgresql://127.89.9.9:5432/x"),
    ],
)
async def test_names_of_services_become_addresses(text: str, told: str) -> None:
    assert await with_addresses(text, "default", address_of) == told


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:5000/v1",
        "http://example.com/x",
        "https://huggingface.co",
        "http://127.0.0.1:80/",
        "postgresql://later/x",  # no port, and the scheme has no usual one
        "org/model",
        "s3://user@phi/x",
        "",
    ],
)
async def test_everything_else_stays(text: str) -> None:
    assert await with_addresses(text, "default", address_of) == text


async def test_beside_another_api_server_names_stay() -> None:
    assert await with_addresses("http://phi/v1", "default", nowhere) == "http://phi/v1"

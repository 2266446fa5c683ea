"""The probes of a process: live at once, ready when nothing is missing, and clear about a bad address."""

from __future__ import annotations

import aiohttp
import pytest

from kaito.web.probes import parse_address, serve_probes


async def test_readiness_names_what_is_missing() -> None:
    missing: tuple[str, ...] = ("nodes", "pods")
    async with serve_probes("127.0.0.1:0", missing=lambda: missing, exposition=lambda: b"a 1\n") as port:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            async with session.get("/healthz") as answer:
                assert answer.status == 200
            async with session.get("/readyz") as answer:
                assert (answer.status, await answer.text()) == (503, "not synced: nodes, pods")
            missing = ()
            async with session.get("/readyz") as answer:
                assert answer.status == 200
            async with session.get("/metrics") as answer:
                assert (await answer.read(), answer.content_type) == (b"a 1\n", "text/plain")


@pytest.mark.parametrize(
    ("text", "address"),
    [(":8080", ("0.0.0.0", 8080)), ("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:2", ("::1", 2))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["8080", "host:", ":x", ":70000", ""])
def test_what_is_no_address_is_shown(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        parse_address(text)

"""URLs that name a Service, as a process of this machine can follow them: there is no DNS for Services here."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Protocol

LABEL = "[a-z](?:[a-z0-9-]*[a-z0-9])?"
URL = re.compile(
    rf"\b([a-z][a-z0-9+.-]*://)({LABEL})(?:\.({LABEL})(\.svc(?:\.cluster\.local)?)?)?(?::([0-9]{{1,5}}))?(?=[/?#,]|$)"
)
DEFAULT_PORTS = {"http://": 80, "https://": 443, "ws://": 80, "wss://": 443}
NO_SERVICES = frozenset({"localhost"})


class AddressOf(Protocol):
    def __call__(self, namespace: str, name: str, port: int, *, may_come: bool) -> Awaitable[str]:
        """`host:port` where the Service's port listens; empty where it does not. `may_come`: or where it will."""
        ...


async def nowhere(namespace: str, name: str, port: int, *, may_come: bool) -> str:
    """Where Services do not listen on this machine: beside another API server."""
    return ""


async def with_addresses(text: str, namespace: str, address_of: AddressOf) -> str:
    """The text with the host and port of every Service's URL replaced by where it listens.

    `NAME` and `NAME.NAMESPACE.svc` are Services whether or not they are there yet; of `NAME.NAMESPACE`, which may be a
    host of the world as well, it depends.
    """
    pieces, end = [], 0
    for found in URL.finditer(text):
        scheme, name, other, suffix, port = found.groups()
        number = int(port) if port else DEFAULT_PORTS.get(scheme)
        if number is None or name in NO_SERVICES:
            continue
        address = await address_of(other or namespace, name, number, may_come=not other or bool(suffix))
        if address:
            pieces += [text[end : found.start()], scheme, address]
            end = found.end()
    return "".join([*pieces, text[end:]])

"""How a host of a user's URL is reached, and why it may not be.

A host is judged by name before it is asked and by address when a socket is opened to it, redirects included: what a
name resolves to may change between two look-ups, the address of a socket does not.

Behind a proxy the socket leads to the proxy, whose address whoever runs the cluster has chosen, and the proxy looks the
name up: there a host is judged by its name, and by its addresses as far as this machine can look them up; what the
proxy reaches beyond that is for its own rules to say. Hosts that NO_PROXY names are reached, and judged, directly.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

import aiohttp
from yarl import URL

from kaito.addresses import refused_address, refused_host
from kaito.tuning.errors import ConfigError

CONNECT_TIMEOUT_S = 30.0
SILENCE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """`is_refused` says why an address may not be connected to. `proxies`: as `getproxies_environment` has them."""

    total_bytes: int
    is_refused: Callable[[str], str] = refused_address
    is_host_refused: Callable[[str], str] = refused_host
    backoff_s: float = 2.0
    proxies: Mapping[str, str] = field(default_factory=dict)

    def proxy_for(self, url: URL) -> str:
        """The proxy through which the URL is reached; empty where it is reached directly."""
        proxy = self.proxies.get(url.scheme, "")
        return "" if not proxy or proxy_bypass_environment(f"{url.host}:{url.port}", dict(self.proxies)) else proxy


class Routes:
    """The two ways to a host: straight, with every socket judged, and through the proxy."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_TIMEOUT_S)
        # No pooled name: every straight connection goes through `open_socket`.
        straight = aiohttp.TCPConnector(limit=4, use_dns_cache=False, socket_factory=_judged_socket(limits))
        self._straight = aiohttp.ClientSession(connector=straight, timeout=timeout, auto_decompress=False)
        self._proxied = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)

    async def __aenter__(self) -> Routes:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._straight.close()
        await self._proxied.close()

    @asynccontextmanager
    async def get(self, url: URL, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to one request, perhaps a redirect. Raises ConfigError for an address that is refused."""
        proxy = self._limits.proxy_for(url)
        if proxy:
            await self._judge(url)
        session = self._proxied if proxy else self._straight
        async with session.get(url, headers=headers, allow_redirects=False, proxy=proxy or None) as response:
            yield response

    async def _judge(self, url: URL) -> None:
        """Judges the addresses that the proxy would find, as far as this machine can find them itself."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        except OSError:
            return  # behind a proxy the names of the world need not resolve
        for *_, address in found:
            if why := self._limits.is_refused(str(address[0])):
                raise ConfigError(f"{url}: {why}: only public hosts may be asked")


def _judged_socket(limits: Limits) -> Callable[[tuple[int, int, int, str, tuple[object, ...]]], socket.socket]:
    def open_socket(info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        family, kind, protocol, _, address = info
        if why := limits.is_refused(str(address[0])):
            raise ConfigError(f"{why}: only public hosts may be asked")
        return socket.socket(family, kind, protocol)

    return open_socket

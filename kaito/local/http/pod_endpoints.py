"""Logs of pods, and the proxy to what pods and Services answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Protocol

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from kaito.api.meta import Json
from kaito.clock import Clock
from kaito.local.apiserver import ApiServer, StatusError
from kaito.local.apiserver.errors import bad_request, no_such_resource
from kaito.local.http import query as queries
from kaito.local.http.respond import NO_SNIFF
from kaito.local.http.target import Target
from kaito.local.kubelet.logs import LogRequest
from kaito.local.robots.endpoints import container_port

PROXY_BODY_BYTES_MAX = 32 << 20
CONNECT_TIMEOUT_S = 5.0
SILENCE_TIMEOUT_S = 600.0  # between two pieces of a proxied answer
CHUNK_BYTES = 64 << 10
# Headers of one connection, which must not be passed on (RFC 9110, 7.6.1), and those that are for us.
OF_CONNECTION = frozenset(("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
                           "transfer-encoding", "upgrade", "content-length", "proxy-connection"))  # fmt: skip
OURS = OF_CONNECTION | {"authorization", "host"}
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


class Pods(Protocol):
    """The kubelet's side."""

    def resolve(self, namespace: str, pod: str, port: int) -> tuple[str, int] | None:
        """Where a pod's port really listens; None for a pod that does not run here."""
        ...

    def log(self, pod: Json, container: str, request: LogRequest, *, previous: bool = False) -> AsyncIterator[bytes]:
        """Raises LookupError that says why there is no log."""
        ...


class PodEndpoints:
    """`session` makes the proxied requests."""

    def __init__(self, server: ApiServer, pods: Pods, session: aiohttp.ClientSession, *, now: Clock) -> None:
        self._server, self._pods, self._session, self._now = server, pods, session, now

    async def log(self, request: web.Request, target: Target) -> web.StreamResponse:
        resource = self._server.registry.find("", "v1", "pods")
        pod = self._server.get(resource, target.namespace, target.name)
        container = _chosen_container(pod, request.query.get("container", ""))
        wanted = queries.log_request(request.query, self._now())
        try:
            lines = self._pods.log(pod, container, wanted, previous=queries.flag(request.query, "previous"))
        except LookupError as error:
            raise bad_request(str(error.args[0])) from error
        response = web.StreamResponse(headers=NO_SNIFF)
        response.content_type = "text/plain"
        response.enable_chunked_encoding()
        await response.prepare(request)
        async for line in lines:
            await response.write(line)
        await response.write_eof()
        return response

    async def proxy(self, request: web.Request, target: Target) -> web.StreamResponse:
        """The answer of a pod, or of one of the ready pods behind a Service. Raises StatusError."""
        if "upgrade" in request.headers.get("Connection", "").lower():
            raise StatusError(501, "NotImplemented", "the local cluster proxies HTTP requests only, no upgrades")
        host, port = self._place(target)
        url = f"http://{host}:{port}{target.rest or '/'}"
        if request.query_string:
            url += f"?{request.rel_url.raw_query_string}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_TIMEOUT_S)
        headers = CIMultiDict((name, value) for name, value in request.headers.items() if name.lower() not in OURS)
        body = _body(request) if request.can_read_body else None
        try:
            async with self._session.request(
                request.method,
                URL(url, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
                timeout=timeout,
            ) as found:
                return await _passed_on(request, found)
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            if isinstance(error.__cause__, StatusError):  # raised while the body was passed on
                raise error.__cause__ from None
            why = f"error trying to reach service: {str(error) or type(error).__name__}"
            raise StatusError(503, "ServiceUnavailable", why) from error

    def _place(self, target: Target) -> tuple[str, int]:
        name, port = _name_and_port(target.name)
        if target.plural == "pods":
            pod = self._server.get(self._server.registry.find("", "v1", "pods"), target.namespace, name)
            return self._pod_place(pod, port)
        if target.plural != "services":
            raise no_such_resource()
        return self.service_place(target.namespace, name, port)

    def service_place(self, namespace: str, name: str, port: str) -> tuple[str, int]:
        """Where one of the ready pods behind a Service's port (number or name) really listens. Raises StatusError."""
        service = self._server.get(self._server.registry.find("", "v1", "services"), namespace, name)
        ports = service["spec"].get("ports") or []
        chosen = ports[0] if not port and len(ports) == 1 else _chosen_port(ports, port)
        if chosen is None:
            offered = ", ".join(f"{item.get('name') or '-'}={item['port']}" for item in ports)
            raise StatusError(
                503, "ServiceUnavailable", f'no port {port!r} found for service "{name}" (it has {offered})'
            )
        return self._endpoint(namespace, name, chosen.get("name") or "")

    def _endpoint(self, namespace: str, name: str, port_name: str) -> tuple[str, int]:
        found = self._server.store.get(("", "endpoints"), (namespace, name)) or {}
        for subset in found.get("subsets") or ():
            for port in subset.get("ports") or ():
                for address in subset.get("addresses") or () if (port.get("name") or "") == port_name else ():
                    pod = (address.get("targetRef") or {}).get("name") or ""
                    return self._pods.resolve(namespace, pod, port["port"]) or _on_loopback(address["ip"], port["port"])
        raise StatusError(503, "ServiceUnavailable", f'no endpoints available for service "{name}"')

    def _pod_place(self, pod: Json, port: str) -> tuple[str, int]:
        metadata = pod["metadata"]
        if port.isdecimal():
            number: int | None = int(port)
        elif port:
            number = container_port(pod, port)
        else:
            ports = [item["containerPort"] for one in pod["spec"]["containers"] for item in one.get("ports") or ()]
            number = ports[0] if ports else 80
        if number is None:
            raise bad_request(f'no port named {port!r} found for pod "{metadata["name"]}"')
        place = self._pods.resolve(metadata["namespace"], metadata["name"], number)
        if place is None:
            raise StatusError(503, "ServiceUnavailable", f'pod "{metadata["name"]}" does not run on this machine')
        return place


def _chosen_container(pod: Json, asked: str) -> str:
    spec, metadata = pod["spec"], pod["metadata"]
    names = [one["name"] for part in ("initContainers", "containers") for one in spec.get(part) or ()]
    usual = [one["name"] for one in spec["containers"]]
    chosen = asked or (metadata.get("annotations") or {}).get(DEFAULT_CONTAINER, "")
    if not chosen:
        if len(usual) == 1:
            return str(usual[0])
        raise bad_request(
            f"a container name must be specified for pod {metadata['name']}, choose one of: [{' '.join(usual)}]"
        )
    if chosen not in names:
        raise bad_request(f"container {chosen} is not valid for pod {metadata['name']}")
    return chosen


def _on_loopback(ip: str, port: int) -> tuple[str, int]:
    """Raises StatusError for any other address: what the local cluster made up must not be looked for in a network."""
    if not ip_address(ip).is_loopback:
        why = f"no process of this machine listens at {ip}:{port} (are pods instant?)"
        raise StatusError(503, "ServiceUnavailable", f"error trying to reach service: {why}")
    return ip, port


def _chosen_port(ports: list[Json], asked: str) -> Json | None:
    """The Service's port of this number or name; the nameless one where none is asked for."""
    return next((item for item in ports if asked in (str(item["port"]), item.get("name") or "")), None)


def _name_and_port(text: str) -> tuple[str, str]:
    """`name`, `name:port` or `scheme:name:port`. Raises StatusError."""
    parts = text.split(":")
    if len(parts) == 3 and parts[0] in ("", "http"):
        return parts[1], parts[2]
    if len(parts) > 2 or not parts[0]:
        raise bad_request(f"{text!r} is no NAME, NAME:PORT or http:NAME:PORT")
    return parts[0], parts[1] if len(parts) == 2 else ""


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    passed = 0
    async for data in request.content.iter_chunked(CHUNK_BYTES):
        passed += len(data)
        if passed > PROXY_BODY_BYTES_MAX:
            raise StatusError(413, "RequestEntityTooLarge", f"a proxied body may have {PROXY_BODY_BYTES_MAX} bytes")
        yield data


async def _passed_on(request: web.Request, found: aiohttp.ClientResponse) -> web.StreamResponse:
    """Piece by piece, as it comes."""
    response = web.StreamResponse(status=found.status, reason=found.reason)
    for name, value in found.headers.items():
        if name.lower() not in OF_CONNECTION:
            response.headers.add(name, value)
    if found.content_length is not None:
        response.content_length = found.content_length
    await response.prepare(request)
    try:
        async for data in found.content.iter_any():
            await response.write(data)
    except aiohttp.ClientError:  # half an answer must not look like a whole one
        if request.transport is not None:
            request.transport.abort()
        return response
    await response.write_eof()
    return response

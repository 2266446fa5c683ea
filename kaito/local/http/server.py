"""serve: the core as a Kubernetes REST API on a loopback port, over HTTPS, for those who have the token."""

from __future__ import annotations

import errno
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import aiohttp
from aiohttp import web

from kaito.api.meta import Json
from kaito.clock import Clock
from kaito.local.apiserver import ApiServer, StatusError
from kaito.local.apiserver.errors import method_not_allowed, no_such_resource
from kaito.local.cluster import Served
from kaito.local.http import discovery
from kaito.local.http import query as queries
from kaito.local.http.admission import Admission
from kaito.local.http.bodies import shape_of, shapes_of
from kaito.local.http.certificate import server_context
from kaito.local.http.guard import BODY_BYTES_MAX, Guard
from kaito.local.http.openapi import OpenApi
from kaito.local.http.pod_endpoints import PodEndpoints, Pods
from kaito.local.http.resources import ResourceVerbs
from kaito.local.http.respond import NO_SNIFF, answer, plain
from kaito.local.http.target import parse_target
from kaito.local.http.watches import Watches
from kaito.local.http.webhooks import Webhooks

HOST = "127.0.0.1"
TOKEN_BYTES = 32
KEEPALIVE_S = 75.0
SHUTDOWN_S = 2.0  # streams are told to end; whoever does not listen is cut off
LINE_BYTES_MAX = 16 << 10
# As asked for; as answered: Go does not read the `@` in a content type.
OPENAPI_2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
NOT_HERE = ("attach", "exec", "portforward")
NOT_HERE_WHY = (
    "pods of the local cluster are processes of this machine: reach them at their status.podIP, their Service at its "
    "annotation local.kaito.sh/address"
)
HEALTH = ("/healthz", "/livez", "/readyz")


@asynccontextmanager
async def serve(server: ApiServer, pods: Pods, *, port: int, now: Clock, rng: Random) -> AsyncIterator[Served]:
    """Serves for as long as the block lasts. `port` 0 takes a free one. Raises OSError for one that is taken."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    context, authority = server_context(now)
    watches = Watches(server, now=now, rng=rng)
    async with aiohttp.ClientSession(auto_decompress=False, trust_env=False) as session:
        endpoints = PodEndpoints(server, pods, session, now=now)
        admission = Admission(server, Webhooks(server, session, endpoints.service_place))
        api = Api(server, watches, endpoints, admission, now=now)
        guard = Guard(api.respond, token=token, is_long_running=is_long_running)
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_route("*", "/{path:.*}", guard.respond)
        runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, keepalive_timeout=KEEPALIVE_S,
            max_line_size=LINE_BYTES_MAX, shutdown_timeout=SHUTDOWN_S,
        )  # fmt: skip
        await runner.setup()
        try:
            await _listen(runner, port, context)
            yield Served(f"https://{HOST}:{runner.addresses[0][1]}", token, authority)
        finally:
            watches.close()
            await runner.cleanup()


class PortInUse(OSError):
    """Somebody else listens there."""


async def _listen(runner: web.AppRunner, port: int, context: ssl.SSLContext) -> None:
    try:
        await web.TCPSite(runner, HOST, port, ssl_context=context).start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortInUse(f"port {port} of {HOST} is in use: choose another with --port, or 0 for a free one") from error


def is_long_running(request: web.Request) -> bool:
    """Whether it may last: watches, followed logs, and what pods answer."""
    target = parse_target(request.rel_url.raw_path)
    if target is None:
        return False
    if target.subresource in ("log", "proxy"):
        return target.subresource == "proxy" or queries.flag(request.query, "follow")
    return request.method == "GET" and queries.flag(request.query, "watch")


class Api:
    """Every path of the API."""

    def __init__(
        self, server: ApiServer, watches: Watches, pods: PodEndpoints, admission: Admission, *, now: Clock
    ) -> None:
        self._server, self._pods = server, pods
        self._verbs = ResourceVerbs(server, watches, admission, now=now)
        self._openapi = OpenApi(server.registry, server.emulate)
        self._documents: dict[str, Callable[[], Json]] = {
            "/version": lambda: discovery.version_info(server.emulate),
            "/api": discovery.core_versions,
            "/apis": lambda: discovery.group_list(server.registry.all()),
        }

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Raises StatusError."""
        target = parse_target(request.rel_url.raw_path)
        if target is None:
            return self._document(request)
        if (target.group, target.plural, target.subresource) == ("", "pods", "log"):
            if request.method != "GET":
                raise method_not_allowed(request.method)
            return await self._pods.log(request, target)
        if (target.group, target.plural) == ("", "pods") and target.subresource in NOT_HERE:
            raise StatusError(501, "NotImplemented", f"{target.subresource}: {NOT_HERE_WHY}")
        if target.group == "" and target.subresource == "proxy":
            return await self._pods.proxy(request, target)
        return await self._verbs.respond(request, target)

    def _document(self, request: web.Request) -> web.StreamResponse:
        """What is not about objects: discovery, schemas, health."""
        path = request.path.rstrip("/") or "/"
        if request.method not in ("GET", "HEAD"):
            raise method_not_allowed(request.method)
        if path in HEALTH or path.startswith(tuple(f"{each}/" for each in HEALTH)):
            return plain("ok")
        if path in ("/api", "/apis") and (version := self._aggregated_version(request)):
            found = discovery.aggregated(self._server.registry.all(), is_core=path == "/api", version=version)
            response = answer(found)
            response.headers["Content-Type"] = (
                f"application/json;g={discovery.DISCOVERY};v={version};as={discovery.AGGREGATED}"
            )
            return response
        if path == "/openapi/v2" and OPENAPI_2_PROTOBUF in request.headers.get("Accept", ""):
            return web.Response(
                body=self._openapi.version_2_protobuf(),
                headers={**NO_SNIFF, "Content-Type": OPENAPI_2_PROTOBUF.replace("@", ".")},
            )
        shape = shape_of(request.headers.get("Accept", ""), (discovery.AGGREGATED,))
        return answer(self._found(path), media_type=shape.media_type)

    def _aggregated_version(self, request: web.Request) -> str:
        """In which version of the aggregated form the client wants discovery; empty: in the old form."""
        if self._server.emulate < discovery.AGGREGATED_FROM:
            return ""
        shapes = shapes_of(request.headers.get("Accept", ""))
        first = shapes[0] if shapes else None
        if first is None or first.as_ != discovery.AGGREGATED or first.version not in ("v2", "v2beta1"):
            return ""
        return first.version

    def _found(self, path: str) -> Json:
        if document := self._documents.get(path):
            return document()
        parts = path.strip("/").split("/")
        resources = self._server.registry.all()
        found: Json | None = None
        if path == "/":
            found = {"paths": ["/api", "/api/v1", "/apis", *HEALTH, "/openapi/v2", "/openapi/v3", "/version"]}
        elif parts[0] == "api" and len(parts) == 2:
            found = discovery.resource_list(resources, "", parts[1])
        elif parts[0] == "apis" and len(parts) == 2:
            found = discovery.group(resources, parts[1])
        elif parts[0] == "apis" and len(parts) == 3:
            found = discovery.resource_list(resources, parts[1], parts[2])
        elif path == "/openapi/v3":
            found = self._openapi.index()
        elif path == "/openapi/v2":
            found = self._openapi.version_2()
        elif path.startswith("/openapi/v3/"):
            found = self._openapi.document(path.removeprefix("/openapi/v3/"))
        if found is None:
            raise no_such_resource()
        return found

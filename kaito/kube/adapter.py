"""KubernetesAsyncioClient: the KubeClient over HTTP. No policy: no retries but one after a 401, no caching.

From kubernetes-asyncio come the configuration and the authentication (kubeconfig, in-cluster, exec plugins, OIDC); its
typed models and its Watch stay off this path, because decoding is the hot path and belongs to `watchers`.
"""

from __future__ import annotations

import json
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from kaito.api.core import POD
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.kube import errors
from kaito.kube.client import ALL, FIELD_MANAGER, Discovery, Scope
from kaito.kube.configuration import load_configuration

REQUEST_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10.0
LIST_TIMEOUT_S = 60.0
READ_BUFFER_BYTES = 2 << 20
# Watches hold a connection each, one per kind and one per object that is watched by name: were they to share a limit
# with requests, a hundred Workspaces with a ConfigMap of their own would leave none for anything else.
WATCHES_MAX = 4_096
REQUESTS_MAX = 32  # more wait; an API server serves what one client sends at once no sooner
WATCH_MARGIN_S = 30.0
# What asyncio holds of every TLS connection, for as long as it is open: 256 KiB, where a record of TLS has 16.
SSLProtocol.max_size = 64 << 10
JSON_TYPE, MERGE_PATCH, APPLY_PATCH = "application/json", "application/merge-patch+json", "application/apply-patch+yaml"
REASONS: Mapping[str, type[errors.ApiError]] = {
    "AlreadyExists": errors.AlreadyExists,
    "Conflict": errors.Conflict,
    "Expired": errors.Gone,
    "Gone": errors.Gone,
    "Invalid": errors.Invalid,
    "NotFound": errors.NotFound,
    "Forbidden": errors.Forbidden,
    "Unauthorized": errors.Unauthorized,
    "TooManyRequests": errors.Throttled,
    "BadRequest": errors.BadRequest,
}
CODES: Mapping[int, type[errors.ApiError]] = {
    400: errors.BadRequest,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    410: errors.Gone,
    415: errors.BadRequest,
    422: errors.Invalid,
    429: errors.Throttled,
}


class KubernetesAsyncioClient:
    """See `kube.client.KubeClient`. Make one with `connect`; end it with `aclose`."""

    def __init__(self, configuration: Any, kubeconfig: Path | None) -> None:
        self._kubeconfig = kubeconfig
        self._configuration = configuration
        self._tls = _tls_of(configuration)
        self._session = self._open_session(REQUESTS_MAX)
        self._watching = self._open_session(WATCHES_MAX)

    @classmethod
    async def connect(cls, kubeconfig: Path | None = None) -> KubernetesAsyncioClient:
        """From a kubeconfig; without one from the pod's service account, else from where kubectl looks.

        Raises Unauthorized that names what was read when there is no usable configuration.
        """
        return cls(await load_configuration(kubeconfig), kubeconfig)

    async def aclose(self) -> None:
        await self._session.close()
        await self._watching.close()

    # Reads.

    async def discover(self) -> Discovery:
        version = await self._json("GET", "/version")
        served: set[tuple[str, str, str]] = set()
        groups = (await self._json("GET", "/apis"))["groups"]
        paths = [("", "v1", "/api/v1")]
        paths += [
            (group["name"], item["version"], f"/apis/{item['groupVersion']}")
            for group in groups
            for item in group["versions"]
        ]
        for group, name, path in paths:
            try:
                found = await self._json("GET", path)
            except errors.NotFound:  # the group went away between the two requests
                continue
            served |= {(group, name, item["name"]) for item in found["resources"]}
        return Discovery(_number(version["major"]), _number(version["minor"]), frozenset(served))

    async def list_page(
        self, kind: ResourceKind, scope: Scope = ALL, *, limit: int = 500, continue_: str = ""
    ) -> bytes:
        query = _selectors(scope) | {"limit": str(limit)} | ({"continue": continue_} if continue_ else {})
        return await self._bytes("GET", kind.path(scope.namespace), query=query, timeout_s=LIST_TIMEOUT_S)

    def open_watch(
        self, kind: ResourceKind, scope: Scope = ALL, *, resource_version: str, timeout_s: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        query = _selectors(scope) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_s),
        }
        return self._watch(kind.path(scope.namespace), query, timeout_s)

    @asynccontextmanager
    async def _watch(self, path: str, query: dict[str, str], timeout_s: int) -> AsyncIterator[AsyncIterator[bytes]]:
        with _ConnectionErrors(path):
            response = await self._request(
                "GET", path, query=query, timeout_s=timeout_s + WATCH_MARGIN_S, session=self._watching
            )
            try:
                yield _chunks(response, path)
            finally:
                response.close()

    async def read(self, kind: ResourceKind, ref: ObjectRef) -> Json:
        return await self._json("GET", kind.path(ref.namespace, ref.name))

    async def read_log(
        self, ref: ObjectRef, *, container: str, tail_lines: int, bytes_max: int = 1 << 20, previous: bool = False
    ) -> str:
        query = {"container": container, "tailLines": str(tail_lines), "limitBytes": str(bytes_max)}
        query |= {"previous": "true"} if previous else {}
        body = await self._bytes("GET", POD.path(ref.namespace, ref.name, "log"), query=query)
        return body.decode(errors="replace")

    # Writes.

    async def create(
        self, kind: ResourceKind, namespace: str, body: Json, *, subresource: str = "", name: str = ""
    ) -> Json:
        typed = {"apiVersion": kind.api_version, "kind": kind.kind} | body
        query = {"fieldManager": FIELD_MANAGER}
        return await self._json("POST", kind.path(namespace, name, subresource), query=query, body=typed)

    async def apply(self, kind: ResourceKind, ref: ObjectRef, body: Json) -> Json:
        typed = {"apiVersion": kind.api_version, "kind": kind.kind} | body
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        path = kind.path(ref.namespace, ref.name)
        return await self._json("PATCH", path, query=query, body=typed, content_type=APPLY_PATCH)

    async def merge_patch(self, kind: ResourceKind, ref: ObjectRef, patch: Json, *, subresource: str = "") -> Json:
        path = kind.path(ref.namespace, ref.name, subresource)
        query = {"fieldManager": FIELD_MANAGER}
        return await self._json("PATCH", path, query=query, body=patch, content_type=MERGE_PATCH)

    async def delete(
        self,
        kind: ResourceKind,
        ref: ObjectRef,
        *,
        uid: str,
        propagation: str = "Background",
        grace_s: int | None = None,
    ) -> None:
        options: Json = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": propagation,
        }
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        await self._bytes("DELETE", kind.path(ref.namespace, ref.name), body=options)

    # HTTP.

    async def _json(self, method: str, path: str, **more: Any) -> Json:
        body = await self._bytes(method, path, **more)
        try:
            found: Json = msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise errors.ServerError(f"{method} {path}: the answer is not JSON: {body[:80]!r}") from error
        return found

    async def _bytes(self, method: str, path: str, *, timeout_s: float = REQUEST_TIMEOUT_S, **more: Any) -> bytes:
        with _ConnectionErrors(path):
            response = await self._request(method, path, timeout_s=timeout_s, **more)
            try:
                return await response.read()
            finally:
                response.release()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        query: dict[str, str] | None = None,
        body: Json | None = None,
        content_type: str = JSON_TYPE,
        session: aiohttp.ClientSession | None = None,
    ) -> aiohttp.ClientResponse:
        """The answer, if it is a good one. A 401 reads the credentials again from disk and asks once more."""
        for is_last in (False, True):
            response = await (session or self._session).request(
                method,
                self._configuration.host.rstrip("/") + path,
                params=query,
                data=None if body is None else msgspec.json.encode(body),
                headers=await self._headers(content_type if body is not None else None),
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S),
                proxy=self._configuration.proxy,
            )
            if response.status < 400:
                return response
            error = _error(method, path, response, await response.read())
            response.release()
            if is_last or not isinstance(error, errors.Unauthorized):
                raise error
            self._configuration = await load_configuration(self._kubeconfig)
        raise AssertionError("unreachable")

    async def _headers(self, content_type: str | None) -> dict[str, str]:
        headers = {"Accept": JSON_TYPE} | ({"Content-Type": content_type} if content_type else {})
        for setting in (await self._configuration.auth_settings()).values():
            if setting["in"] == "header" and setting["value"]:
                headers[setting["key"]] = setting["value"]
        return headers

    def _open_session(self, connections_max: int) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=connections_max, ssl=self._tls)
        return aiohttp.ClientSession(connector=connector, read_bufsize=READ_BUFFER_BYTES, trust_env=False)


def _tls_of(settings: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    if settings.cert_file:
        context.load_cert_chain(settings.cert_file, keyfile=settings.key_file)
    if not settings.verify_ssl:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class _ConnectionErrors:
    """Whatever goes wrong below HTTP is Unreachable: the request may have been carried out."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, aiohttp.ClientError | TimeoutError | ConnectionError):
            raise errors.Unreachable(f"{self._path}: {type(error).__name__} {error}".strip()) from error


async def _chunks(response: aiohttp.ClientResponse, path: str) -> AsyncIterator[bytes]:
    with _ConnectionErrors(path):
        async for chunk in response.content.iter_any():
            yield chunk


def _error(method: str, path: str, response: aiohttp.ClientResponse, body: bytes) -> errors.ApiError:
    """The exception for an answer of 400 and more, from its Status where it carries one."""
    try:
        status = json.loads(body)
        reason, message = str(status.get("reason", "")), str(status.get("message", ""))
    except (ValueError, AttributeError):
        reason, message = "", body[:200].decode(errors="replace")
    kind = (
        REASONS.get(reason)
        or CODES.get(response.status)
        or (errors.ServerError if response.status >= 500 else errors.ApiError)
    )
    after = response.headers.get("Retry-After", "")
    return kind(
        message or f"{method} {path}: HTTP {response.status}",
        reason=reason,
        code=response.status,
        retry_after_s=float(after) if after.isdecimal() else None,
    )


def _selectors(scope: Scope) -> dict[str, str]:
    found = {"labelSelector": scope.label_selector, "fieldSelector": scope.field_selector}
    return {key: value for key, value in found.items() if value}


def _number(text: str) -> int:
    """`20+` of a managed cluster is 20."""
    return int("".join(character for character in text if character.isdigit()) or 0)

"""One call of a webhook: which objects it wants to see, where it listens, and whether its answer is one."""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Callable
from typing import TypeAlias

import aiohttp
import msgspec

from kaito.api.meta import Json
from kaito.local.apiserver import StatusError

ANSWER_BYTES_MAX = 3 << 20
HTTPS_PORT = 443
Place: TypeAlias = Callable[[str, str, str], tuple[str, int]]  # (namespace, Service, port), raises StatusError


class WebhookFailed(Exception):
    """It was not reached, or what it said is no answer."""


def selected(webhook: Json, namespace: Json | None, old: Json | None, new: Json | None) -> bool:
    """Whether its selectors of namespaces and objects let the webhook see this."""
    if namespace is not None and not matches(webhook.get("namespaceSelector"), namespace):
        return False
    return any(obj is not None and matches(webhook.get("objectSelector"), obj) for obj in (old, new))


def matches(selector: Json | None, obj: Json) -> bool:
    """Whether the labels satisfy a metav1.LabelSelector; an empty one takes all."""
    labels = (obj.get("metadata") or {}).get("labels") or {}
    for key, value in ((selector or {}).get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for item in (selector or {}).get("matchExpressions") or ():
        key, values = item.get("key"), item.get("values") or ()
        is_met = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not is_met.get(item.get("operator"), False):
            return False
    return True


async def call_webhook(session: aiohttp.ClientSession, place: Place, webhook: Json, review: Json) -> Json:
    """The response to an AdmissionReview. Raises WebhookFailed."""
    url, hostname = _address(place, webhook.get("clientConfig") or {})
    context = _context(webhook.get("clientConfig") or {})
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    try:
        async with session.post(
            url, data=msgspec.json.encode(review), headers=headers, ssl=context, server_hostname=hostname,
            allow_redirects=False,
        ) as found:  # fmt: skip
            body = await read_at_most(found, ANSWER_BYTES_MAX)
            status = found.status
    except (aiohttp.ClientError, OSError) as error:
        raise WebhookFailed(f"POST {url}: {error}") from error
    if status != 200:
        raise WebhookFailed(f"POST {url}: HTTP {status} {body[:200].decode(errors='replace')}".rstrip())
    return _response(body, review, url)


async def read_at_most(found: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """The whole body. Raises WebhookFailed for one that is longer."""
    body = bytearray()
    async for piece in found.content.iter_any():
        body += piece
        if len(body) > bytes_max:
            raise WebhookFailed(f"POST {found.url}: an answer of more than {bytes_max} bytes")
    return bytes(body)


def _address(place: Place, config: Json) -> tuple[str, str | None]:
    """The URL, and the name that the certificate must show where that is not the URL's."""
    if url := config.get("url"):
        if not str(url).startswith("https://"):
            raise WebhookFailed(f"clientConfig.url {url!r}: must begin with https://")
        return str(url), None
    service = config.get("service") or {}
    namespace, name = service.get("namespace", ""), service.get("name", "")
    try:
        host, port = place(namespace, name, str(service.get("port") or HTTPS_PORT))
    except StatusError as error:
        raise WebhookFailed(f"service {namespace}/{name}: {error.message}") from error
    return f"https://{host}:{port}/{str(service.get('path') or '').lstrip('/')}", f"{name}.{namespace}.svc"


def _context(config: Json) -> ssl.SSLContext:
    if not config.get("caBundle"):
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cadata=base64.b64decode(config["caBundle"]).decode())
    except (binascii.Error, UnicodeDecodeError, ssl.SSLError, ValueError) as error:
        raise WebhookFailed(f"clientConfig.caBundle holds no certificate: {error}") from error


def _response(body: bytes, review: Json, url: str) -> Json:
    try:
        found = msgspec.json.decode(body)
        response = found["response"]
        is_ours = response["uid"] == review["request"]["uid"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise WebhookFailed(f"POST {url}: the answer is no AdmissionReview: {body[:200]!r}") from error
    if not is_ours or found.get("apiVersion") != review["apiVersion"]:
        raise WebhookFailed(f"POST {url}: expected an answer to {review['request']['uid']} in {review['apiVersion']}")
    result: Json = response
    return result

"""A registry's client: oras's, with deadlines, a bounded retry, several credentials and both kinds of challenge."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from oras.auth.token import TokenAuth
from oras.provider import Registry

from kaito.backoff import Backoff
from kaito.images import DEFAULT_REGISTRY, ImageName, parse_image
from kaito.oci.errors import ImageAbsent, ImageError, ImageRejected, Refused

HUB_HOST = "registry-1.docker.io"  # where docker.io's images really are
HUB_KEYS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ATTEMPTS_MAX = 4
TIMEOUT_S = (30.0, 120.0)  # to connect, and between two bytes

T = TypeVar("T")


class Client(Registry):  # type: ignore[misc]
    """oras's client with deadlines, a bounded retry and Basic challenges. One registry each."""

    def __init__(self, image: ImageName, basic: str) -> None:
        super().__init__(insecure=is_plain(image.registry))
        self.auth = _Challenged(self.session, basic)
        self.auth.prefix = self.prefix
        self.image = image
        host = HUB_HOST if image.registry == DEFAULT_REGISTRY else image.registry
        self.base = f"{self.prefix}://{host}/v2/{image.repository}"
        self._backoff = Backoff(0.5, 8.0, Random())

    def do_request(self, url: str, method: str = "GET", **options: Any) -> requests.Response:
        """The answer, after an authentication where one is asked for. Raises ImageError when there is none."""
        self._backoff.reset()
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                response: requests.Response = Registry.do_request.__wrapped__(self, url, method, **options)
            except (requests.ConnectionError, requests.Timeout) as error:
                trouble = str(error)
            except ValueError as error:  # oras: no way to answer the challenge
                raise Refused(str(error)) from error
            else:
                if response.status_code in (401, 403):
                    raise Refused(f"status {response.status_code}")
                if response.status_code < 500 and response.status_code != 429:
                    return response
                trouble = f"status {response.status_code}"
            if attempt < ATTEMPTS_MAX:
                time.sleep(self._backoff.next_s())
        raise ImageError(f"{self.image.registry}: {trouble} (after {ATTEMPTS_MAX} attempts)")


class _Challenged(TokenAuth):  # type: ignore[misc]
    """Answers Bearer challenges as oras does, and Basic ones with the same credentials."""

    def __init__(self, session: requests.Session, basic: str) -> None:
        super().__init__()
        self.session = session
        self._tls_verify = True
        session.trust_env = True
        session.request = _with_deadline(session.request)
        if basic:
            self._basic_auth = basic

    def authenticate_request(self, original: Any, headers: dict[str, str], refresh: bool = False) -> Any:
        challenge = original.headers.get("Www-Authenticate", "")
        if not challenge.lower().startswith("basic"):
            return super().authenticate_request(original, headers, refresh)
        if not hasattr(self, "_basic_auth"):
            return headers, False
        self.session.headers["Authorization"] = f"Basic {self._basic_auth}"
        return headers, True

    def load_configs(self, container: Any, configs: Any = None) -> None:
        """Credentials are chosen by `credentials_for`; the home folder of whoever runs this is none of them."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob of an image. `size` in bytes; `title` is the file name that an artifact gives it."""

    digest: str
    size: int
    media_type: str
    title: str = ""


def with_credentials(image: ImageName, auth_files: Iterable[Path], verb: str, work: Callable[[Client], T]) -> T:
    """What `work` returns with the first credentials that the registry accepts; none at all are tried last.

    Raises ImageAbsent when it accepts no one's (many a registry says so of what is not there), and whatever else
    `work` raises.
    """
    refusals: list[str] = []
    for basic in [*credentials_for(image, auth_files), ""]:
        try:
            return work(Client(image, basic))
        except Refused as error:
            refusals.append(str(error))
    raise ImageAbsent(
        f"{image}: the registry refuses to {verb} it ({refusals[0]}); {len(refusals) - 1} of the given Secrets name "
        f"{image.registry}: name a Secret of the type kubernetes.io/dockerconfigjson with credentials for it"
    )


def auth_files(folder: Path | None) -> list[Path]:
    """The docker configurations in the folder and below it, as Secrets are mounted there."""
    if folder is None:
        return []
    found = (path for path in folder.rglob("*") if path.suffix == ".json" or path.name == ".dockerconfigjson")
    # A mounted Secret keeps its versions in folders whose names begin with two dots.
    return sorted(path for path in found if ".." not in str(path.relative_to(folder)))


def image_name(text: str) -> ImageName:
    """The parsed name. Raises ImageRejected."""
    logging.getLogger("oras").setLevel(logging.ERROR)
    try:
        return parse_image(text)
    except ValueError as error:
        raise ImageRejected(str(error)) from error


def is_plain(registry: str) -> bool:
    """Whether the registry is spoken to without TLS: only one on this machine is, as docker does."""
    host = urlsplit(f"//{registry}").hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def credentials_for(image: ImageName, auth_files: Iterable[Path]) -> list[str]:
    """user:password in base64 of every docker configuration that knows the registry. Raises ImageRejected."""
    found = []
    for path in auth_files:
        try:
            auths = json.loads(path.read_text(encoding="utf-8")).get("auths") or {}
        except (OSError, ValueError, AttributeError) as error:
            raise ImageRejected(f"{path}: not a docker configuration (config.json with auths): {error}") from error
        for key, entry in auths.items():
            host = urlsplit(key if "//" in key else f"//{key}").netloc
            if host == image.registry or (image.registry == DEFAULT_REGISTRY and host in HUB_KEYS):
                pair = f"{entry.get('username', '')}:{entry.get('password', '')}"
                found.append(str(entry.get("auth") or b64encode(pair.encode()).decode()))
    return found


def words_of(response: requests.Response) -> str:
    """What the registry says about an error."""
    try:
        return "; ".join(str(error.get("message", "")) for error in response.json()["errors"])
    except (ValueError, LookupError, AttributeError, TypeError):
        return str(response.text)[:200]


def _with_deadline(request: Any) -> Any:
    def bounded(method: str, url: str, **options: Any) -> Any:
        return request(method, url, **{"timeout": TIMEOUT_S, **options})

    return bounded


def sha256_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"

"""Files by URL: resumed, retried, checked, bounded, and never from the cluster's own network (`routes`)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import aiohttp
from yarl import URL

from kaito.addresses import refused_host
from kaito.backoff import Backoff
from kaito.tuning.errors import ConfigError, ResourceError, TuningError
from kaito.tuning.routes import Limits, Routes

REDIRECTS_MAX = 5
ATTEMPTS_MAX = 5
CHUNK_BYTES = 1 << 20
URLS_MAX = 1000
CHECKSUM = re.compile(r"sha256[=:]([0-9A-Fa-f]{64})")
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Source:
    url: URL
    sha256: str = ""

    @property
    def file_name(self) -> str:
        """The last part of the path, safe as a file name; the query is no part of it."""
        return UNSAFE.sub("_", unquote(self.url.raw_path).rstrip("/").rpartition("/")[2]).lstrip(".")[-200:] or "data"


class Interrupted(Exception):
    """A download broke off; another attempt may go on."""


def parse_source(text: str, is_host_refused: Callable[[str], str] = refused_host) -> Source:
    """`https://host/file#sha256=HEX`; the checksum is optional. Raises ConfigError."""
    try:
        url = URL(text)
    except ValueError as error:
        raise ConfigError(f"{text}: not a URL: {error}") from error
    if url.scheme not in ("http", "https"):
        raise ConfigError(f"{text}: expected http or https, found {url.scheme or 'no scheme'}")
    if why := is_host_refused(url.host or ""):
        raise ConfigError(f"{text}: {why}: only public hosts may be named")
    found = CHECKSUM.fullmatch(url.fragment)
    if url.fragment and found is None:
        raise ConfigError(f"{text}: expected #sha256= with 64 hexadecimal digits, found #{url.fragment}")
    return Source(url.with_fragment(None), found[1].lower() if found else "")


async def download_all(sources: Sequence[Source], folder: Path, limits: Limits, backoff: Backoff) -> list[Path]:
    """The files, one after the other, in a folder that exists; one that is there is kept. Raises TuningError."""
    if len(sources) > URLS_MAX:
        raise ConfigError(f"{len(sources)} URLs: at most {URLS_MAX}; pack the files together")
    found: list[Path] = []
    left = limits.total_bytes
    async with Routes(limits) as routes:
        for source, name in zip(sources, _names(sources), strict=True):
            path = folder / name
            if not path.exists():
                await _download(routes, source, path, left, limits, backoff)
            left -= path.stat().st_size
            found.append(path)
    return found


def _names(sources: Sequence[Source]) -> list[str]:
    """One name each: a second file of the same name gets its number in front."""
    names: list[str] = []
    for index, source in enumerate(sources):
        names.append(source.file_name if source.file_name not in names else f"{index}-{source.file_name}")
    return names


async def _download(routes: Routes, source: Source, path: Path, left: int, limits: Limits, backoff: Backoff) -> None:
    part = path.with_name(path.name + ".part")
    backoff.reset()
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            await _attempt(routes, source, part, left, limits)
            break
        except (Interrupted, aiohttp.ClientError, TimeoutError) as error:
            if refusal := _refusal(error) or _for_good(error):
                raise refusal from error
            if attempt == ATTEMPTS_MAX:
                raise TuningError(
                    f"{source.url}: {str(error) or type(error).__name__} (after {attempt} attempts)"
                ) from error
            await asyncio.sleep(backoff.next_s())
    if not part.stat().st_size:
        part.unlink()
        raise ConfigError(f"{source.url}: the answer is empty")
    if source.sha256 and (digest := _sha256(part)) != source.sha256:
        part.unlink()
        raise ConfigError(f"{source.url}: the SHA-256 is {digest}, expected {source.sha256}")
    _note(part).unlink(missing_ok=True)
    part.replace(path)


def _refusal(error: BaseException) -> ConfigError | None:
    """Our own refusal of an address, which the connector may have wrapped."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ConfigError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _for_good(error: BaseException) -> ConfigError | None:
    """What another attempt would only meet again: a proxy that refuses, a certificate that does not hold."""
    match error:
        case aiohttp.ClientHttpProxyError(status=status, message=message) if status < 500 and status != 429:
            return ConfigError(f"{error.request_info.real_url}: the proxy refuses it: {status} {message}")
        case aiohttp.ClientConnectorCertificateError():
            return ConfigError(f"{error}: have it mended, or trust its issuer (SSL_CERT_FILE)")
    return None


async def _attempt(routes: Routes, source: Source, part: Path, left: int, limits: Limits) -> None:
    """One request with its redirects, from where the last one broke off, if the file has not changed since."""
    have, tag = _begun(part)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    url = source.url
    for _ in range(REDIRECTS_MAX + 1):
        async with routes.get(url, headers) as response:
            if response.status in (301, 302, 303, 307, 308):
                url = _redirect(url, response.headers.get("Location", ""), limits)
                continue
            if response.status == 416:
                _forget(part)
                raise Interrupted("the file has changed on the server")
            _check_status(source, response.status)
            is_more = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if response.status == 206 and not is_more:
                raise Interrupted("the server answered with another part of the file")
            await _save(response, part, have if is_more else 0, left, source)
            return
    raise ConfigError(f"{source.url}: more than {REDIRECTS_MAX} redirects")


def _redirect(url: URL, location: str, limits: Limits) -> URL:
    target = url.join(URL(location))
    if target.scheme not in ("http", "https") or (url.scheme == "https" and target.scheme == "http"):
        raise ConfigError(f"{url}: redirects to {target}: expected {url.scheme}")
    if why := limits.is_host_refused(target.host or ""):
        raise ConfigError(f"{url}: redirects to {target}: {why}")
    return target


def _check_status(source: Source, status: int) -> None:
    if status in (200, 206):
        return
    if status in (408, 425, 429) or status >= 500:
        raise Interrupted(f"status {status}")
    raise ConfigError(f"{source.url}: status {status}: expected 200; is the URL right, and public?")


async def _save(response: aiohttp.ClientResponse, part: Path, have: int, left: int, source: Source) -> None:
    length = response.content_length
    if length is not None and have + length > left:
        raise ConfigError(f"{source.url}: {have + length} bytes, and {left} are left of the limit for all files")
    if length is not None and length > (free := shutil.disk_usage(part.parent).free):
        raise ResourceError(f"{source.url}: {length} bytes, and the data volume has {free} free: give it more")
    # Only a strong validator says that the bytes are the same.
    tag = response.headers.get("ETag", "")
    _note(part).write_text(json.dumps("" if tag.startswith("W/") else tag), encoding="utf-8")
    size = have
    with part.open("ab" if have else "wb") as file:
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            size += len(chunk)
            if size > left:
                raise ConfigError(f"{source.url}: more than the {left} bytes that are left of the limit for all files")
            file.write(chunk)
    if length is not None and size != have + length:
        raise Interrupted(f"{size} of {have + length} bytes came")


def _note(part: Path) -> Path:
    return part.with_name(f".{part.name}.tag")


def _begun(part: Path) -> tuple[int, str]:
    """How many bytes an earlier attempt has left, and of which version of the file; nothing when that is unknown."""
    try:
        tag = str(json.loads(_note(part).read_text(encoding="utf-8")))
        return (part.stat().st_size, tag) if tag else (0, "")
    except (OSError, ValueError):
        return 0, ""


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Bearer keys: several at once, compared in constant time, read again when their file changes."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog

from kaito.logs import Event
from kaito.web.openai.errors import ApiError

RELOAD_S = 1.0  # how old the look at the file may be


class KeysUnreadable(Exception):
    """The key file cannot be used; nobody is let in because of that, and the server does not start."""


class ApiKeys:
    """Who may ask. Without keys and without a file everyone may.

    The file has one key a line; empty lines and lines that begin with # do not count. While a changed file cannot be
    read, the keys read last hold. A file without keys lets nobody in.
    """

    def __init__(self, keys: Iterable[str], file: Path | None, clock: Callable[[], float]) -> None:
        """Raises KeysUnreadable."""
        self._fixed = [_digest(key) for key in keys if key]
        self._file, self._clock = file, clock
        self._from_file: list[bytes] = []
        self._seen: tuple[int, int, int] | None = None
        self._looked = clock()
        if file is not None:
            try:
                self._read(file)
            except OSError as error:
                raise KeysUnreadable(f"the API keys in {file} cannot be read: {error.strerror}") from error

    @property
    def are_required(self) -> bool:
        return bool(self._fixed) or self._file is not None

    def check(self, headers: Mapping[str, str]) -> None:
        """Raises ApiError (401)."""
        if not self.are_required:
            return
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._is_known(token.strip()):
            raise ApiError(
                401,
                "A valid API key is needed: send it as `Authorization: Bearer KEY`.",
                type="authentication_error",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _is_known(self, token: str) -> bool:
        self._refresh()
        digest = _digest(token)
        known = False
        for key in (*self._fixed, *self._from_file):  # all of them: the time says nothing about which
            known |= hmac.compare_digest(digest, key)
        return known

    def _refresh(self) -> None:
        if self._file is None or self._clock() - self._looked < RELOAD_S:
            return
        self._looked = self._clock()
        try:
            self._read(self._file)
        except OSError as error:
            structlog.get_logger().warning(Event.KEYS_UNREADABLE, file=str(self._file), reason=error.strerror)

    def _read(self, file: Path) -> None:
        stat = file.stat()  # follows the link that a mounted Secret swaps
        seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if seen == self._seen:
            return
        lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
        self._from_file = [_digest(line) for line in lines if line and not line.startswith("#")]
        self._seen = seen


def _digest(key: str) -> bytes:
    """Of equal length whatever the key's."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()

"""Probes: whether a container answers, by HTTP, TCP or a command; and when a row of answers counts."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import anyio
import anyio.abc

from kaito.api.meta import Json

HEAD_BYTES_MAX = 16 << 10
WORDS_BYTES_MAX = 10 << 10  # of an answer, for the Event

RunCommand: TypeAlias = Callable[[list[str], float], Awaitable[tuple[int, str]]]
ResolvePort: TypeAlias = Callable[[object], tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Answer:
    is_success: bool
    words: str = ""


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """core/v1 Probe with its defaults."""

    action: Json
    initial_delay_s: float
    period_s: float
    timeout_s: float
    failures_max: int
    successes_min: int
    grace_s: float | None  # of the kill that follows, where it differs from the pod's

    @classmethod
    def of(cls, probe: Json) -> ProbeSpec:
        grace = probe.get("terminationGracePeriodSeconds")
        return cls(
            probe,
            float(probe.get("initialDelaySeconds") or 0),
            float(probe.get("periodSeconds") or 10),
            float(probe.get("timeoutSeconds") or 1),
            int(probe.get("failureThreshold") or 3),
            int(probe.get("successThreshold") or 1),
            None if grace is None else float(grace),
        )


class Verdict:
    """Counts answers in a row. `passed` is None until one of the thresholds has been reached."""

    def __init__(self, spec: ProbeSpec) -> None:
        self._spec = spec
        self._row = 0
        self._last: bool | None = None
        self.passed: bool | None = None

    def take(self, answer: Answer) -> bool | None:
        """The verdict after one more answer."""
        self._row = self._row + 1 if answer.is_success == self._last else 1
        self._last = answer.is_success
        if answer.is_success and self._row >= self._spec.successes_min:
            self.passed = True
        elif not answer.is_success and self._row >= self._spec.failures_max:
            self.passed = False
        return self.passed


async def probe_once(spec: ProbeSpec, resolve: ResolvePort, run: RunCommand) -> Answer:
    """One answer, within the probe's timeout."""
    action = spec.action
    answer = Answer(False, f"no answer within {spec.timeout_s:g}s")
    with anyio.move_on_after(spec.timeout_s):
        if command := (action.get("exec") or {}).get("command"):
            code, words = await run(command, spec.timeout_s)
            return Answer(code == 0, words[:WORDS_BYTES_MAX])
        try:
            if http := action.get("httpGet"):
                answer = await _get(http, resolve)
            elif tcp := action.get("tcpSocket"):
                host, port = resolve(tcp["port"])
                async with await anyio.connect_tcp(host, port):
                    answer = Answer(True)
            else:
                answer = Answer(False, "the probe has none of httpGet, tcpSocket and exec")
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream, ValueError) as error:
            answer = Answer(False, f"{type(error).__name__}: {error}")
    return answer


async def _get(http: Json, resolve: ResolvePort) -> Answer:
    host, port = resolve(http["port"])
    path = "/" + str(http.get("path") or "/").lstrip("/")
    is_tls = str(http.get("scheme") or "HTTP").upper() == "HTTPS"
    headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/1.36", "Accept": "*/*", "Connection": "close"}
    headers |= {str(header["name"]): str(header["value"]) for header in http.get("httpHeaders") or []}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in the probe's path or headers")
    stream: anyio.abc.ByteStream
    if is_tls:
        stream = await anyio.connect_tcp(host, port, tls=True, ssl_context=_unverified(), tls_standard_compatible=False)
    else:
        stream = await anyio.connect_tcp(host, port)
    async with stream:
        await stream.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        status = await _status(stream)
    return Answer(200 <= status < 400, f"HTTP probe failed with statuscode: {status}")


async def _status(stream: anyio.abc.ByteStream) -> int:
    head = b""
    while b"\r\n" not in head:
        if len(head) > HEAD_BYTES_MAX:
            raise ValueError("the status line is too long")
        head += await stream.receive()
    words = head.split(b"\r\n", 1)[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise ValueError(f"not HTTP: {head[:80]!r}")
    return int(words[1])


def _unverified() -> ssl.SSLContext:
    """Kubelets do not check the certificate of what they probe."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context

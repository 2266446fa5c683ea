"""The policy in force: read at start, read again when its file changes; judged off the event loop."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import structlog

from kaito.clock import Clock, wall_clock
from kaito.logs import Event
from kaito.rag.guardrails.policy import Policy, PolicyInvalid, StreamGuard, Verdict, read_policy
from kaito.rag.metrics import Metrics
from kaito.rag.problems import Problem

RELOAD_INTERVAL_S = 1.0
SHORT_TEXT = 2048  # below, a scan takes less than handing it to a thread
POLICY_BYTES_MAX = 1 << 20


class Guard:
    """Judges answers by the last policy that could be read; while there has been none, every answer is refused."""

    def __init__(self, path: Path, metrics: Metrics, clock: Clock = wall_clock) -> None:
        self._path, self._metrics, self._clock = path, metrics, clock
        self._policy: Policy | None = None
        self._fault = "it has not been read yet"
        self._hash = ""
        self._seen: bytes | None = b""
        self._stamp = (0, 0)

    async def reload(self) -> None:
        """Takes the file's policy if it has changed and is valid; else keeps what is in force, and says so."""
        data, stamp = await asyncio.to_thread(self._read)
        is_new, self._stamp = stamp != self._stamp, stamp
        if data == self._seen:
            if is_new and self._policy is not None:
                self._metrics.policy_reloads.labels(result="noop").inc()
            return
        is_first = self._policy is None
        self._seen = data
        try:
            if data is None:
                raise PolicyInvalid("the file cannot be read")
            policy = await asyncio.to_thread(read_policy, data.decode())
        except (PolicyInvalid, UnicodeDecodeError) as error:
            self._fault = str(error)
            self._metrics.policy_loads.labels(policy_status="invalid").inc()
            self._metrics.policy_reloads.labels(result="failure").inc()
            structlog.get_logger().error(
                Event.GUARDRAILS_REFUSED, path=str(self._path), reason=str(error), keeps_former=not is_first
            )
            return
        self._take(policy, hashlib.sha256(data or b"").hexdigest()[:12], is_first)

    def _take(self, policy: Policy, digest: str, is_first: bool) -> None:
        metrics = self._metrics
        metrics.policy_loads.labels(policy_status="loaded").inc()
        if not is_first:
            metrics.policy_reloads.labels(result="success").inc()
            metrics.active_policy.remove(self._hash)
        metrics.policy_loaded.set(self._clock().timestamp())
        metrics.active_policy.labels(policy_hash=digest).set(1)
        for scanner in policy.scanners:
            metrics.scanner_builds.labels(type=scanner.type, status="success").inc()
        self._policy, self._hash = policy, digest
        structlog.get_logger().info(Event.GUARDRAILS_LOADED, path=str(self._path), scanners=len(policy.scanners))

    def _read(self) -> tuple[bytes | None, tuple[int, int]]:
        """Content, and when which file was written."""
        try:
            with self._path.open("rb") as file:
                stat = os.fstat(file.fileno())
                return file.read(POLICY_BYTES_MAX), (stat.st_mtime_ns, stat.st_ino)
        except OSError:
            return None, (0, 0)

    async def watch(self) -> None:
        """Reloads for ever. A ConfigMap's file is swapped by a link, so its content is compared, not its time."""
        while True:
            await asyncio.sleep(RELOAD_INTERVAL_S)
            await self.reload()

    def policy(self) -> Policy:
        """The policy for one answer, from its first to its last byte. Raises Problem (503)."""
        if self._policy is None:
            raise Problem(503, f"Output guardrails are on, but their policy cannot be applied: {self._fault}")
        return self._policy

    def check_stream(self, policy: Policy) -> None:
        """Raises Problem (400) where the policy has to see the whole answer."""
        if kinds := policy.not_streamable():
            raise Problem(
                400,
                f"stream=true is not supported with the output guardrails in force: {', '.join(kinds)} must see the "
                "whole answer. Ask without streaming.",
            )

    async def judge(self, policy: Policy, text: str) -> Verdict:
        """Blocked, too, where a scanner fails."""
        try:
            if len(text) < SHORT_TEXT:
                verdict = policy.judge(text)
            else:
                verdict = await asyncio.to_thread(policy.judge, text)
        except Exception as error:
            structlog.get_logger().error(Event.GUARDRAILS_REFUSED, path=str(self._path), exc_info=error)
            verdict = Verdict(policy.block_message, True, (("error", "block"),))
        self._count(verdict.hits)
        return verdict

    async def feed(self, stream: StreamGuard, piece: str, *, is_last: bool = False) -> str:
        """What may be said now. A scanner that fails blocks the rest."""
        before = len(stream.hits)
        try:
            text = stream.feed(piece, is_last=is_last)
        except Exception as error:
            structlog.get_logger().error(Event.GUARDRAILS_REFUSED, path=str(self._path), exc_info=error)
            stream.is_blocked = True
            stream.hits.append(("error", "block"))
            text = ""
        self._count(stream.hits[before:])
        return text

    def _count(self, hits: Sequence[tuple[str, str]]) -> None:
        for kind, action in hits:
            self._metrics.scanner_hits.labels(scanner_type=kind, action=action).inc()

    def finished(self, hits: Sequence[tuple[str, str]]) -> None:
        """Counts what became of one answer."""
        actions = {action for _, action in hits}
        final = "block" if "block" in actions else "redact" if actions else "pass"
        self._metrics.final_actions.labels(final_action=final).inc()

"""Prober: startup, then liveness and readiness side by side, for as long as a container runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import anyio

from kaito.api.meta import Json
from kaito.local.kubelet.context import Launch, PodContext
from kaito.local.kubelet.probes import Answer, ProbeSpec, Verdict, probe_once
from kaito.local.kubelet.process import Process, start
from kaito.local.kubelet.sandbox import rewrite

COMMAND_BYTES_MAX = 16 << 10  # of a probe command's output
GRACE_DEFAULT_S = 30.0

Kind = Literal["Startup", "Liveness", "Readiness"]


class Prober:
    """Tells `answered(is_started, is_ready)` of every change; ends the process when startup or liveness fails."""

    def __init__(
        self,
        context: PodContext,
        container: Json,
        launch: Launch,
        process: Process,
        answered: Callable[[bool, bool], None],
    ) -> None:
        self._context = context
        self._container = container
        self._launch = launch
        self._process = process
        self._answered = answered

    async def run(self) -> None:
        if not await self._starts_up():
            return
        readiness = self._container.get("readinessProbe")
        self._answered(True, readiness is None and not self._is_never_ready())
        async with anyio.create_task_group() as tasks:
            if readiness:
                tasks.start_soon(self._watch_readiness, ProbeSpec.of(readiness))
            if liveness := self._container.get("livenessProbe"):
                tasks.start_soon(self._watch_liveness, ProbeSpec.of(liveness))

    async def _starts_up(self) -> bool:
        probe = self._container.get("startupProbe")
        if not probe:
            return True
        spec = ProbeSpec.of(probe)
        passed = await self._ask("Startup", spec, until=lambda passed: passed is not None)
        if not passed:
            await self._kill("startup", spec)
        return bool(passed)

    async def _watch_readiness(self, spec: ProbeSpec) -> None:
        def show(passed: bool | None) -> bool:
            self._answered(True, bool(passed))
            return False

        await self._ask("Readiness", spec, until=show)

    async def _watch_liveness(self, spec: ProbeSpec) -> None:
        await self._ask("Liveness", spec, until=lambda passed: passed is False)
        await self._kill("liveness", spec)

    async def _ask(self, kind: Kind, spec: ProbeSpec, *, until: Callable[[bool | None], bool]) -> bool | None:
        """Asks once a period; returns the verdict at which `until` says stop."""
        verdict = Verdict(spec)
        await anyio.sleep(spec.initial_delay_s)
        while True:
            answer = await self._answer(kind, spec)
            if not answer.is_success:
                await self._context.tell("Warning", "Unhealthy", f"{kind} probe failed: {answer.words}")
            if until(verdict.take(answer)):
                return verdict.passed
            await anyio.sleep(spec.period_s)

    async def _answer(self, kind: Kind, spec: ProbeSpec) -> Answer:
        if kind != "Liveness" and self._is_never_ready():
            return Answer(False, "no answer (fault server-never-ready)")
        return await probe_once(spec, self._context.resolve_port, self._run_command)

    def _is_never_ready(self) -> bool:
        return self._context.settings.fault("server-never-ready", self._context.name) is not None

    async def _kill(self, which: str, spec: ProbeSpec) -> None:
        name = self._container["name"]
        words = f"Container {name} failed {which} probe, will be restarted"
        await self._context.tell("Normal", "Killing", words)
        grace_s = self._context.pod["spec"].get("terminationGracePeriodSeconds")
        if spec.grace_s is not None:
            grace_s = spec.grace_s
        await self._process.stop(GRACE_DEFAULT_S if grace_s is None else float(grace_s))

    async def _run_command(self, command: list[str], timeout_s: float) -> tuple[int, str]:
        """The probe's command in the container's surroundings: its exit status and the start of its output."""
        words = [rewrite(str(word), self._launch.mounts) for word in command]
        process = await start(words, env=self._launch.env, cwd=self._launch.cwd)
        output = b""
        try:
            async for data in process.output:
                output = (output + data)[:COMMAND_BYTES_MAX]
            return await process.wait(), output.decode(errors="replace").strip()
        finally:
            await process.aclose()

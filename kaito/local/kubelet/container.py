"""One container through all its runs: pull, start, probe, end, back off, start again; until it is final or stopped."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from datetime import datetime

import anyio

from kaito.api.meta import Json
from kaito.clock import rfc3339
from kaito.local.kubelet.context import Launch, PodContext
from kaito.local.kubelet.environment import ConfigError
from kaito.local.kubelet.logs import ContainerLog, tail_text
from kaito.local.kubelet.probing import Prober
from kaito.local.kubelet.process import Process, start
from kaito.local.kubelet.records import ContainerRecord

DRAIN_S = 2.0  # for output that somebody outside the group may still hold open
WORDS_BYTES_MAX = 4_096  # of a termination message …
FALLBACK_LINES, FALLBACK_BYTES = 80, 2_048  # … and of the log's tail that stands in for it
OUT_OF_MEMORY_CODE = 137


class Container:
    """`record` is what the status shows; every change of it is reported."""

    def __init__(
        self, context: PodContext, spec: Json, *, before: Json | None, is_init: bool, is_waiting: bool
    ) -> None:
        self._context = context
        self.spec = spec
        self.name: str = spec["name"]
        self._is_init = is_init
        self._is_stopping = False
        self._idle = anyio.CancelScope()
        self._process: Process | None = None
        self._started = anyio.Event()
        self._backoff_s = 0.0
        self.log: ContainerLog | None = None
        self.runs = int(before["restartCount"]) + 1 if before and _has_run(before) else 0
        reason = "PodInitializing" if is_waiting else "ContainerCreating"
        self.record = ContainerRecord(
            self.name,
            spec.get("image") or "",
            {"waiting": {"reason": reason}},
            _last_state(before, context.now()),
            restarts=self.runs,
            is_sidecar=is_init and spec.get("restartPolicy") == "Always",
        )

    def _show(self, **changes: object) -> None:
        record = replace(self.record, **changes)  # type: ignore[arg-type]
        if record != self.record:
            self.record = record
            self._context.changed()

    def hold(self, reason: str, message: str = "") -> None:
        state = {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        self._show(state=state, is_ready=False, is_started=False)

    # Its life.

    async def run(self) -> None:
        """Returns when the container is final, or stopped."""
        try:
            await self._live()
        finally:
            self._started.set()  # nobody need wait for it any longer

    async def _live(self) -> None:
        with self._idle:
            await self._pull()
        while not self._is_stopping:
            with anyio.CancelScope() as self._idle:
                launch = await self._prepare()
                await self._wait_backoff()
            if self._idle.cancelled_caught:
                break
            began_s = anyio.current_time()
            try:
                ended = await self._run_once(launch)
            except OSError as error:
                # The machine's fault, not the container's: a full disk, no more processes …
                self.hold("RunContainerError", str(error))
                self._backoff_s = self._context.settings.crash_backoff_s
                self.runs += 1
                continue
            if self._is_over(ended["exitCode"]):
                return self._show(state={"terminated": ended}, is_ready=False, is_started=False, is_final=True)
            self._show(state={"terminated": ended}, is_ready=False, is_started=False)
            self._grow_backoff(anyio.current_time() - began_s)
            self.runs += 1
        self._show(is_ready=False, is_final=True)
        return None

    async def wait_started(self) -> None:
        """Until the container has passed its startup probe for the first time, or never will."""
        await self._started.wait()

    async def stop(self, grace_s: float) -> None:
        """Ends it: SIGTERM, the grace, SIGKILL. It is not started again."""
        self._is_stopping = True
        self._idle.cancel()
        if self._process is not None:
            await self._process.stop(grace_s)

    def _is_over(self, code: int) -> bool:
        if self._is_stopping:
            return True
        if self.record.is_sidecar:
            return False
        if self._is_init:
            return code == 0 or self._context.restart_policy == "Never"
        match self._context.restart_policy:
            case "Never":
                return True
            case "OnFailure":
                return code == 0
        return False

    # Before a run.

    async def _pull(self) -> None:
        """Waits as long as a pull takes; for ever where the image cannot be pulled."""
        context, image = self._context, self.spec.get("image") or ""
        refusal = context.images.refusal(image)
        if context.settings.fault("image-pull-error", context.name):
            refusal = f'failed to pull and unpack image "{image}": not found'
        if not refusal:
            await anyio.sleep(context.settings.delays.image_pull_s)
            return await context.tell("Normal", "Pulled", f'Container image "{image}" already present on machine')
        backoff_s = context.settings.crash_backoff_s
        while True:
            self.hold("ErrImagePull", refusal)
            await context.tell("Warning", "Failed", f'Failed to pull image "{image}": {refusal}')
            await anyio.sleep(min(2.0, backoff_s))
            self.hold("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {refusal}')
            await context.tell("Normal", "BackOff", f'Back-off pulling image "{image}"')
            await anyio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, context.settings.crash_backoff_max_s)

    async def _prepare(self) -> Launch:
        """The launch, once everything that the container refers to is there."""
        while True:
            try:
                launch = await self._context.launch(self.spec)
                if not launch.command:
                    raise ConfigError("no command specified: name one in the container's command")
                return launch
            except ConfigError as error:
                self.hold("CreateContainerConfigError", str(error))
                await self._context.tell("Warning", "Failed", f"Error: {error}")
                await anyio.sleep(self._context.settings.reference_retry_s)

    async def _wait_backoff(self) -> None:
        if not self.runs or not self._backoff_s:
            return
        words = (
            f"back-off {_duration(self._backoff_s)} restarting failed container={self.name} pod={self._context.name}"
        )
        self._show(last_state=_ended(self.record) or self.record.last_state)
        self.hold("CrashLoopBackOff", words)
        await self._context.tell("Warning", "BackOff", f"Back-off restarting failed container {self.name}")
        await anyio.sleep(self._backoff_s)

    def _grow_backoff(self, ran_s: float) -> None:
        """None after a first crash, then the first wait, doubled with each crash; a long run starts it over."""
        first_s, longest_s = self._context.settings.crash_backoff_s, self._context.settings.crash_backoff_max_s
        if ran_s > 2 * longest_s:
            self._backoff_s = 0.0
        elif self.runs:
            self._backoff_s = min(self._backoff_s * 2, longest_s) or first_s

    # A run.

    async def _run_once(self, launch: Launch) -> Json:
        """Starts the command and stays until it ends; returns how it ended (core/v1 ContainerStateTerminated)."""
        context = self._context
        started_at = rfc3339(context.now())
        words_path = context.sandbox.words_path(self.spec)
        words_path.write_bytes(b"")
        self.log = ContainerLog(context.sandbox.log_path(self.name, self.runs), context.now)
        context.sandbox.forget_logs(self.name, before=self.runs - 1)
        process = self._process = await start(self._command(launch), env=launch.env, cwd=launch.cwd)
        context.sandbox.note_process(self.name, process.pid)
        try:
            if self._is_stopping:
                await process.stop(0)
            state = {"running": {"startedAt": started_at}}
            self._show(state=state, last_state=_ended(self.record) or self.record.last_state, restarts=self.runs)
            await context.tell("Normal", "Started", f"Started container {self.name}")
            code = await self._attend(process, launch)
        finally:
            await process.aclose()
            self._process = None
            self.log.close()
        return self._how_it_ended(process, code, started_at)

    def _command(self, launch: Launch) -> list[str]:
        """The command, or what a fault puts in its place."""
        fault = self._context.settings.fault
        if crash := fault("server-crash-loop", self._context.name):
            script = "import sys, time; time.sleep(1); sys.exit(sys.argv[1])"
            return [sys.executable, "-S", "-c", script, crash.argument]
        if fault("server-out-of-memory", self._context.name):
            script = "import os, signal, time; time.sleep(1); os.kill(os.getpid(), signal.SIGKILL)"
            return [sys.executable, "-S", "-c", script]
        return launch.command

    async def _attend(self, process: Process, launch: Launch) -> int:
        """Logs its output and probes it until it ends."""
        code = 0
        prober = Prober(self._context, self.spec, launch, process, self._answered)
        async with anyio.create_task_group() as tasks:
            pumped = anyio.Event()
            tasks.start_soon(self._pump, process, pumped)
            tasks.start_soon(prober.run)
            code = await process.wait()
            process.send(signal.SIGKILL)  # what its leader leaves behind ends with it, as in a PID namespace
            with anyio.move_on_after(DRAIN_S):
                await pumped.wait()
            tasks.cancel_scope.cancel()
        return code

    async def _pump(self, process: Process, pumped: anyio.Event) -> None:
        assert self.log is not None
        try:
            async for data in process.output:
                self.log.feed(data)
        except anyio.BrokenResourceError:
            pass
        pumped.set()

    def _answered(self, is_started: bool, is_ready: bool) -> None:
        self._show(is_started=is_started, is_ready=is_ready)
        if is_started:
            self._started.set()

    def _how_it_ended(self, process: Process, code: int, started_at: str) -> Json:
        is_out_of_memory = process.is_out_of_memory
        if self._context.settings.fault("server-out-of-memory", self._context.name) and code == OUT_OF_MEMORY_CODE:
            is_out_of_memory = True
        reason = "OOMKilled" if is_out_of_memory else "Completed" if code == 0 else "Error"
        ended = {
            "exitCode": code,
            "reason": reason,
            "startedAt": started_at,
            "finishedAt": rfc3339(self._context.now()),
            "containerID": f"kaito-local://{self._context.pod['metadata']['uid']}/{self.name}/{self.runs}",
        }
        words = self._last_words(code)
        return ended | ({"message": words} if words else {})

    def _last_words(self, code: int) -> str:
        sandbox = self._context.sandbox
        words = sandbox.words_path(self.spec).read_bytes()[-WORDS_BYTES_MAX:].decode(errors="replace")
        if words or code == 0 or self.spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            return words
        return tail_text(sandbox.log_path(self.name, self.runs), lines=FALLBACK_LINES, bytes_max=FALLBACK_BYTES)


def _ended(record: ContainerRecord) -> Json | None:
    return record.state if "terminated" in record.state else None


def _has_run(status: Json) -> bool:
    state = status.get("state") or {}
    return bool("running" in state or "terminated" in state or status.get("lastState"))


def _last_state(before: Json | None, now: datetime) -> Json:
    """How a container ended that a kubelet before us ran: with that kubelet."""
    if before is None or not _has_run(before):
        return {}
    running = (before.get("state") or {}).get("running")
    if running is None:
        state: Json = before["state"] if "terminated" in before["state"] else before.get("lastState") or {}
        return state
    ended = {
        "exitCode": 255,
        "reason": "Unknown",
        "message": "the local cluster was stopped",
        "finishedAt": rfc3339(now),
    }
    return {"terminated": ended | ({"startedAt": running["startedAt"]} if running.get("startedAt") else {})}


def _duration(seconds: float) -> str:
    """`10s`, `1m20s`: as Go prints durations."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"

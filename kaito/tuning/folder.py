"""The output folder: checkpoints, progress, and the markers by which others know how the run ended.

checkpoint-N/                  what a restarted run takes up
training_progress.jsonl        one line per logged step; `kaito tune report` draws it
training_run.json              the run that all this belongs to
training_failed.json           why the last attempt failed
training_stopped.txt           the last attempt was told to stop: nothing more comes of it
adapter_config.json, …         the adapter
fine_tuning_completed.txt      written last: all above is whole
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kaito.clock import rfc3339

COMPLETED = "fine_tuning_completed.txt"
FAILED = "training_failed.json"
PROGRESS = "training_progress.jsonl"
RUN = "training_run.json"
STOPPED = "training_stopped.txt"
CHECKPOINT = "checkpoint-"
OURS = frozenset({COMPLETED, FAILED, PROGRESS, RUN, STOPPED})


@dataclass(frozen=True, slots=True)
class OutputFolder:
    path: Path

    def open_run(self, fingerprint: str) -> None:
        """Makes the folder this run's: what a run with another fingerprint left behind goes."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.remove_broken_checkpoints()
        for name in (FAILED, STOPPED):
            (self.path / name).unlink(missing_ok=True)
        if self._run().get("fingerprint") != fingerprint:
            self.clear()
            write_whole(self.path / RUN, json.dumps({"fingerprint": fingerprint}))

    def clear(self) -> None:
        """Removes markers first, then checkpoints and adapter, so that nobody takes a half for the whole."""
        for name in (COMPLETED, FAILED, PROGRESS, RUN, STOPPED):
            (self.path / name).unlink(missing_ok=True)
        for path in self.adapter_files():
            path.unlink()
        self.remove_checkpoints()

    def is_completed(self, fingerprint: str = "") -> bool:
        """Whether all is whole; with a fingerprint, whether that run made it."""
        return (self.path / COMPLETED).is_file() and fingerprint in ("", self._run().get("fingerprint"))

    def checkpoints(self) -> list[tuple[int, Path]]:
        """Whole checkpoints by step, oldest first. The trainer writes trainer_state.json last."""
        found = []
        for path in self.path.glob(f"{CHECKPOINT}*"):
            step = path.name.removeprefix(CHECKPOINT)
            if step.isdecimal() and _json(path / "trainer_state.json").get("global_step") == int(step):
                found.append((int(step), path))
        return sorted(found)

    def files_to_resume(self) -> tuple[int, list[Path]]:
        """The newest checkpoint's step, and all that a run needs beside it to go on; 0 and nothing without one."""
        for step, path in reversed(self.checkpoints()):
            beside = [self.path / name for name in (RUN, PROGRESS) if (self.path / name).is_file()]
            return step, [*beside, *(each for each in sorted(path.rglob("*")) if each.is_file())]
        return 0, []

    def remove_broken_checkpoints(self) -> None:
        """Those that a kill or a full disk cut short."""
        whole = {path for _, path in self.checkpoints()}
        for path in self.path.glob(f"{CHECKPOINT}*"):
            if path not in whole:
                shutil.rmtree(path, ignore_errors=True)

    def remove_checkpoints(self) -> None:
        for path in self.path.glob(f"{CHECKPOINT}*"):
            shutil.rmtree(path, ignore_errors=True)

    def adapter_files(self) -> list[Path]:
        """All files of the adapter: everything at the top that is not ours."""
        return sorted(
            path
            for path in self.path.glob("*")
            if path.is_file() and path.name not in OURS and not path.name.startswith(".") and path.suffix != ".part"
        )

    def append_progress(self, line: dict[str, Any]) -> None:
        with (self.path / PROGRESS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, sort_keys=True) + "\n")

    def progress(self) -> list[dict[str, Any]]:
        """The lines by time; a line that a kill cut short is left out."""
        try:
            lines = (self.path / PROGRESS).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return found

    def complete(self, now: datetime) -> None:
        write_whole(self.path / COMPLETED, rfc3339(now) + "\n")

    def stop(self, now: datetime) -> None:
        write_whole(self.path / STOPPED, rfc3339(now) + "\n")

    def is_stopped(self) -> bool:
        return (self.path / STOPPED).is_file()

    def fail(self, reason: str, message: str, exit_status: int, now: datetime) -> None:
        found = {"reason": reason, "message": message, "exit_status": exit_status, "at": rfc3339(now)}
        self.remove_broken_checkpoints()  # on a full disk, this makes the room for the reason
        write_whole(self.path / FAILED, json.dumps(found, sort_keys=True))

    def failure(self, only: tuple[int, ...] = ()) -> str:
        """Why the last attempt failed; empty while none has, or not with one of these exit statuses."""
        found = _json(self.path / FAILED)
        return str(found.get("message", "")) if not only or found.get("exit_status") in only else ""

    def _run(self) -> dict[str, Any]:
        return _json(self.path / RUN)


def write_whole(path: Path, text: str) -> None:
    """Writes a file that is either absent or whole, also after a crash of the machine."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

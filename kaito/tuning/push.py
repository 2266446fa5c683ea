"""python -m kaito.tuning.push: waits for the trainer beside it and takes the adapter to a registry.

It ends when the trainer has: with the adapter pushed, or with the trainer's own reason. A crash that another attempt
may mend is waited out; the Job's limit of attempts ends this process with the pod. Checkpoints go to the registry on
the way, the last one after a SIGTERM: the pod is evicted, and the next one goes on from there.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import structlog

from kaito.clock import rfc3339, wall_clock
from kaito.logs import Event, set_up_logs
from kaito.oci.errors import ImageError
from kaito.oci.push import MODEL_ANNOTATION, push
from kaito.oci.registry import auth_files
from kaito.tuning.checkpoints import EVERY_S, CheckpointKeeper
from kaito.tuning.errors import EXIT_CONFIG, EXIT_RESOURCES, ConfigError, Stopped, TuningError
from kaito.tuning.fetch import report
from kaito.tuning.folder import OutputFolder

LOOK_EVERY_S = 1.0
STOP_WAIT_S = 60.0  # for the trainer's last checkpoint, once both are told to stop
SILENCE_MAX_S = 6 * 3600.0  # a download of the largest model takes less
CREATED = "org.opencontainers.image.created"


class Told:
    """A signal handler that remembers."""

    is_set = False

    def __call__(self, number: int = 0, frame: FrameType | None = None) -> None:
        self.is_set = True


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m kaito.tuning.push", description=__doc__)
    add = found.add_argument
    add("--output-dir", type=Path, required=True, metavar="FOLDER", help="the trainer's")
    add("--image", required=True, help="the image to push, with a tag")
    add("--model", default="", help="the name of the base model, for the annotation " + MODEL_ANNOTATION)
    add("--auth-dir", type=Path, metavar="FOLDER", help="folder with docker configurations , *.json")
    add(
        "--silence-max",
        type=float,
        default=SILENCE_MAX_S,
        metavar="SECONDS",
        help="give up after so long without a sign",
    )
    add(
        "--checkpoint-every",
        type=float,
        default=EVERY_S,
        metavar="SECONDS",
        help=f"between two checkpoints that are pushed (default {EVERY_S:g})",
    )
    add("--termination-log", type=Path, metavar="FILE", help="where the reason of a failure goes as well")
    return found


def main(argv: Sequence[str], stop: Told | None = None) -> int:
    """Runs to the end; returns the exit status (see `kaito.tuning.errors`)."""
    args = parser().parse_args(argv)
    set_up_logs()
    folder = OutputFolder(args.output_dir)
    try:
        secrets = auth_files(args.auth_dir)
        keeper = CheckpointKeeper(folder, args.image, secrets, args.checkpoint_every)
        wait_completed(folder, silence_max_s=args.silence_max, keeper=keeper, stop=stop)
        annotations = {MODEL_ANNOTATION: args.model, CREATED: rfc3339(wall_clock())}
        files = folder.adapter_files()
        if not files:
            raise ConfigError(f"{folder.path}: the run has completed and left no adapter")
        digest = push(args.image, folder.path, files, secrets, annotations=annotations)
    except (TuningError, ImageError) as error:
        return report(error, args.termination_log)
    log = structlog.get_logger("kaito.tuning")
    log.info(Event.ADAPTER_PUSHED, image=args.image, digest=digest, files=[path.name for path in files])
    return 0


def wait_completed(
    folder: OutputFolder,
    *,
    silence_max_s: float,
    keeper: CheckpointKeeper | None = None,
    stop: Told | None = None,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Returns when the success marker is there, keeping checkpoints until then.

    Raises TuningError with the trainer's reason when it has failed, Stopped when both have been told to stop.
    """
    signs, heard_s, told_s = _signs(folder.path), monotonic(), 0.0
    while not folder.is_completed():
        if words := folder.failure(only=(EXIT_CONFIG, EXIT_RESOURCES)):
            raise ConfigError(f"the trainer failed: {words}")
        if stop is not None and stop.is_set and (told_s := told_s or monotonic()):
            if folder.is_stopped() or monotonic() - told_s > STOP_WAIT_S:
                raise _stopped(keeper)
        elif keeper is not None:
            keeper.keep()
        if (now := _signs(folder.path)) != signs:
            signs, heard_s = now, monotonic()
        if monotonic() - heard_s > silence_max_s:
            raise TuningError(f"the trainer has left no sign in {folder.path} for {silence_max_s / 3600:.1f} hours")
        sleep(LOOK_EVERY_S)


def _stopped(keeper: CheckpointKeeper | None) -> Stopped:
    """What is left of the run, with its last checkpoint kept."""
    if keeper is None:
        return Stopped("told to stop before the run has completed")
    keeper.keep(is_last=True)
    return Stopped(f"told to stop; the next attempt goes on from step {keeper.kept_step}")


def _signs(path: Path) -> tuple[tuple[str, int], ...]:
    """What changes while a trainer works: its files' names and times."""
    try:
        return tuple(sorted((entry.name, entry.stat().st_mtime_ns) for entry in path.iterdir()))
    except OSError:
        return ()


if __name__ == "__main__":
    told = Told()
    signal.signal(signal.SIGTERM, told)
    sys.exit(main(sys.argv[1:], told))

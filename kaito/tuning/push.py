"""python -m kaito.tuning.push: waits for the trainer beside it and takes the adapter to a registry.

It ends when the trainer has: with the adapter pushed, or with the trainer's own reason. A crash that another attempt
may mend is waited out; the Job's limit of attempts ends this process with the pod.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from kaito.clock import rfc3339, wall_clock
from kaito.logs import Event, set_up_logs
from kaito.oci.errors import ImageError
from kaito.oci.push import MODEL_ANNOTATION, push
from kaito.oci.registry import auth_files
from kaito.tuning.errors import EXIT_CONFIG, EXIT_RESOURCES, ConfigError, TuningError
from kaito.tuning.fetch import report
from kaito.tuning.folder import OutputFolder

LOOK_EVERY_S = 1.0
SILENCE_MAX_S = 6 * 3600.0  # a download of the largest model takes less
CREATED = "org.opencontainers.image.created"


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
    add("--termination-log", type=Path, metavar="FILE", help="where the reason of a failure goes as well")
    return found


def main(argv: Sequence[str]) -> int:
    """Runs to the end; returns the exit status (see `kaito.tuning.errors`)."""
    args = parser().parse_args(argv)
    set_up_logs()
    folder = OutputFolder(args.output_dir)
    try:
        wait_completed(folder, silence_max_s=args.silence_max)
        annotations = {MODEL_ANNOTATION: args.model, CREATED: rfc3339(wall_clock())}
        files = folder.adapter_files()
        if not files:
            raise ConfigError(f"{folder.path}: the run has completed and left no adapter")
        digest = push(args.image, files, auth_files(args.auth_dir), annotations=annotations)
    except (TuningError, ImageError) as error:
        return report(error, args.termination_log)
    log = structlog.get_logger("kaito.tuning")
    log.info(Event.ADAPTER_PUSHED, image=args.image, digest=digest, files=[path.name for path in files])
    return 0


def wait_completed(
    folder: OutputFolder,
    *,
    silence_max_s: float,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Returns when the success marker is there. Raises TuningError with the trainer's reason when it has failed."""
    signs, heard_s = _signs(folder.path), monotonic()
    while not folder.is_completed():
        if words := folder.failure(only=(EXIT_CONFIG, EXIT_RESOURCES)):
            raise ConfigError(f"the trainer failed: {words}")
        if (now := _signs(folder.path)) != signs:
            signs, heard_s = now, monotonic()
        if monotonic() - heard_s > silence_max_s:
            raise TuningError(f"the trainer has left no sign in {folder.path} for {silence_max_s / 3600:.1f} hours")
        sleep(LOOK_EVERY_S)


def _signs(path: Path) -> tuple[tuple[str, int], ...]:
    """What changes while a trainer works: its files' names and times."""
    try:
        return tuple(sorted((entry.name, entry.stat().st_mtime_ns) for entry in path.iterdir()))
    except OSError:
        return ()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

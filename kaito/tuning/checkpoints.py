"""Checkpoints in the registry beside the adapter that is to come: `IMAGE:TAG-checkpoint`.

An adapter that goes to a registry needs no volume, so its run's output folder ends with its pod: an eviction, a drained
node or a spot machine that is taken back would begin at step 0. The pusher keeps the newest checkpoint in the registry,
and a new pod begins with it. Whose it is the trainer decides: another configuration, model or data clears the folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from kaito.images import parse_image
from kaito.logs import Event
from kaito.oci.errors import ImageAbsent, ImageError
from kaito.oci.pull import pull
from kaito.oci.push import DATA_PREFIX, push
from kaito.tuning.folder import OutputFolder

SUFFIX = "-checkpoint"
TAG_CHARACTERS_MAX = 128
EVERY_S = 120.0  # a registry is no log: at most so much work is lost with a machine that gives no notice
BYTES_MAX = 500 << 30


def checkpoint_image(image: str) -> str:
    """Where the checkpoints of a run are whose adapter goes to this image. Raises ValueError."""
    name = parse_image(image)
    tag = (name.tag or "latest")[: TAG_CHARACTERS_MAX - len(SUFFIX)] + SUFFIX
    return f"{name.registry}/{name.repository}:{tag}"


@dataclass(slots=True)
class CheckpointKeeper:
    """Takes each newest checkpoint to the registry. What goes wrong is logged: the run itself goes on."""

    folder: OutputFolder
    image: str
    auth_files: Sequence[Path]
    every_s: float = EVERY_S
    monotonic: Callable[[], float] = time.monotonic
    kept_step: int = 0
    _tried_s: float = field(default=float("-inf"))

    def keep(self, *, is_last: bool = False) -> None:
        """Pushes the newest checkpoint, where there is one that was not pushed and it is time."""
        step, files = self.folder.files_to_resume()
        if step <= self.kept_step or (not is_last and self.monotonic() - self._tried_s < self.every_s):
            return
        self._tried_s = self.monotonic()
        log = structlog.get_logger("kaito.tuning")
        image = checkpoint_image(self.image)
        try:
            push(image, self.folder.path, files, self.auth_files, annotations={})
        except (ImageError, OSError) as error:  # OSError: the trainer has removed it for a newer one
            log.warning(Event.CHECKPOINT_NOT_KEPT, step=step, image=image, error=str(error))
            return
        self.kept_step = step
        log.info(Event.CHECKPOINT_KEPT, step=step, image=image)


def restore(folder: OutputFolder, image: str, auth_files: Sequence[Path]) -> int:
    """Brings an earlier pod's checkpoint into an empty folder; its step, 0 for none. Raises ImageError, ValueError."""
    if folder.checkpoints() or folder.is_completed():
        return 0  # the pod has begun before: what is here is newer
    source = checkpoint_image(image)
    try:
        pull(source, folder.path, auth_files, path=DATA_PREFIX, bytes_max=BYTES_MAX)
    except ImageAbsent:
        return 0
    folder.remove_broken_checkpoints()
    step, _ = folder.files_to_resume()
    structlog.get_logger("kaito.tuning").info(Event.CHECKPOINT_RESTORED, step=step, image=source)
    return step

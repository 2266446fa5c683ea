"""SIGTERM in a tuning process."""

from __future__ import annotations

from types import FrameType

from kaito.tuning.errors import Stopped


class StopSignal:
    """A signal handler: ends the process at once while nothing is trained yet; later the step sees `is_set`."""

    def __init__(self) -> None:
        self.is_set = False
        self.is_training = False

    def __call__(self, number: int = 0, frame: FrameType | None = None) -> None:
        self.is_set = True
        if not self.is_training:
            raise Stopped("told to stop before the first step")

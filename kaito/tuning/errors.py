"""How a tuning process ends. The exit status tells the operator whether another attempt can help."""

from __future__ import annotations

EXIT_FAILED = 1  # something that may pass: another attempt takes up the last checkpoint
EXIT_CONFIG = 2  # the configuration or the data: the same attempt fails again
EXIT_RESOURCES = 3  # memory or disk: the same attempt fails again
EXIT_STOPPED = 143  # SIGTERM: the work so far is in a checkpoint


class TuningError(Exception):
    """A failure that has been understood; its message says what was expected and what to change."""

    exit_status = EXIT_FAILED


class ConfigError(TuningError):
    """The configuration or the data cannot be used."""

    exit_status = EXIT_CONFIG


class ResourceError(TuningError):
    """Memory or disk ran out."""

    exit_status = EXIT_RESOURCES


class Stopped(TuningError):
    """The process was told to stop, and has."""

    exit_status = EXIT_STOPPED

"""Why an image did not come or go. The exit status tells whether another attempt can help."""

from __future__ import annotations


class ImageError(Exception):
    """A failure that may pass: the network, a registry in trouble, a full disk."""

    exit_status = 1


class ImageRejected(ImageError):
    """The same attempt fails again: a wrong name, missing credentials, an image without the files."""

    exit_status = 2


class ImageAbsent(ImageRejected):
    """The registry has no such image, as far as these credentials are told."""


class Refused(ImageError):
    """The registry does not accept these credentials; others may do."""

"""Why a model of the hub is no preset."""

from __future__ import annotations


class HubError(Exception):
    """Base; the message says what was asked and what to do."""


class ModelMissing(HubError):
    """There is no such model, or it is private and we have no token for it."""


class ModelGated(HubError):
    """Its licence must be accepted, and a token be given."""


class ModelUnsupported(HubError):
    """It is there, and the engines cannot serve it."""


class HubUnreachable(HubError):
    """No answer, or none that can be used: worth another try."""

"""Why a model of the hub is no preset."""

from __future__ import annotations


class HubError(Exception):
    """Base. The message says what was asked and what was seen; `remedy` what a person at a terminal can do."""

    remedy = ""

    def __str__(self) -> str:
        words = super().__str__()
        return f"{words}; {self.remedy}" if self.remedy else words

    @property
    def message(self) -> str:
        return super().__str__()


class ModelMissing(HubError):
    """There is no such model, or it is private and we have no token for it."""

    remedy = "check the name; where the model is private, set HF_TOKEN to a token that may read it"


class ModelGated(HubError):
    """Its licence must be accepted, and a token be given."""

    remedy = "accept its licence on the hub, and set HF_TOKEN to the token of the account that has"


class ModelUnsupported(HubError):
    """It is there, and the engines cannot serve it."""


class HubUnreachable(HubError):
    """No answer, or none that can be used: worth another try, after `retry_after_s` where the hub says so."""

    remedy = "check the network and HF_ENDPOINT, or try again later"

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

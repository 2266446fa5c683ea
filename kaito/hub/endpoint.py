"""Which hub is asked: as its own client finds it, checked. No HTTP library is needed for that."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from kaito.settings import HUB_ENDPOINT

OFFLINE = ("1", "ON", "YES", "TRUE")


def endpoint_of_environment() -> str:
    """$HF_ENDPOINT, else Hugging Face's; empty where $HF_HUB_OFFLINE forbids to ask. Raises ValueError as below."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in OFFLINE:
        return ""
    return checked_endpoint(os.environ.get("HF_ENDPOINT", "") or HUB_ENDPOINT)


def checked_endpoint(text: str) -> str:
    """The endpoint without a slash at its end. Raises ValueError that says what was expected."""
    try:
        url = urlsplit(text)
        is_good = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        is_good = False
    if not is_good or url.query or url.fragment or url.username:
        raise ValueError(f"{text!r}: expected the address of a model hub, such as {HUB_ENDPOINT}")
    return text.rstrip("/")

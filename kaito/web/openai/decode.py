"""JSON bodies to wire models; what does not fit is told with the field's name."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from kaito.web.openai.errors import invalid

Model = TypeVar("Model", bound=msgspec.Struct)
PLACE = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


def decode(body: bytes, decoder: msgspec.json.Decoder[Model]) -> Model:
    """The request. Raises ApiError (400) that names the field."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        text = str(error)
        place = PLACE.search(text)
        param = place["path"] if place else _missing(text)
        raise invalid(f"{PLACE.sub('', text)}{f' in field `{param}`' if param else ''}", param=param) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"The body is not JSON: {error}") from error


def _missing(text: str) -> str | None:
    found = re.search(r"required field `([^`]+)`", text)
    return found[1] if found else None

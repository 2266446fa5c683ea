"""`guided_json` and its kind, which vLLM no longer reads, as the `structured_outputs` that it does read. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from kaito.web.openai.errors import invalid

FIELDS = {"guided_json": "json", "guided_regex": "regex", "guided_choice": "choice", "guided_grammar": "grammar"}


def with_structured_outputs(body: bytes) -> bytes:
    """The body in today's words. Raises ApiError (400) where it also says otherwise what the output must be."""
    if b'"guided_' not in body:
        return body
    try:
        request = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body  # vLLM says what is wrong
    if not isinstance(request, dict):
        return body
    given = {name: request.pop(name) for name in FIELDS if request.get(name) is not None}
    if not given:
        return body
    others = [name for name in ("response_format", "structured_outputs") if _holds(request.get(name))]
    if len(given) + len(others) > 1:
        fields = ", ".join([*others, *given])
        raise invalid(f"{fields}: the output can be held to one of them only", param=next(iter(given)))
    request["structured_outputs"] = {FIELDS[name]: value for name, value in given.items()}
    return msgspec.json.encode(request)


def _holds(value: Any) -> bool:
    return value is not None and not (isinstance(value, dict) and value.get("type") == "text")

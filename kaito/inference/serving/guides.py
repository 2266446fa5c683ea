"""What the output must match, from any of the fields that say so: OpenAI's response_format and vLLM's extensions."""

from __future__ import annotations

import json
import re
from typing import Any

from kaito.inference.generation import Guide
from kaito.web.openai.common import SamplingFields
from kaito.web.openai.errors import invalid

ANY_OBJECT = '{"type":"object"}'


def guide_of(request: SamplingFields) -> Guide | None:
    """None where anything goes. Raises ApiError (400) for none or several of what excludes one another."""
    if not (
        request.response_format
        or request.structured_outputs
        or request.guided_json is not None
        or request.guided_regex is not None
        or request.guided_choice is not None
        or request.guided_grammar is not None
    ):
        return None  # the usual case
    found = [*_response_format(request), *_structured(request), *_guided(request)]
    if len(found) > 1:
        fields = ", ".join(field for field, _ in found)
        raise invalid(f"{fields}: the output can be held to one of them only", param=found[1][0])
    return found[0][1] if found else None


def schema_guide(schema: Any, field: str) -> Guide:
    """Raises ApiError for what is not a schema."""
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except ValueError as error:
            raise invalid(f"{field} is not JSON: {error}", param=field) from error
    if not isinstance(schema, dict | bool):
        raise invalid(f"{field}: expected a JSON schema, an object", param=field)
    return Guide("json_schema", json.dumps(schema))


def choice_guide(choices: list[str], field: str) -> Guide:
    if not choices:
        raise invalid(f"{field}: expected at least one choice", param=field)
    return Guide("regex", "|".join(re.escape(choice).replace("\n", "\\n") for choice in choices))


def _response_format(request: SamplingFields) -> list[tuple[str, Guide]]:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return []
    if wanted.type == "json_object":
        return [("response_format", Guide("json_schema", ANY_OBJECT))]
    if wanted.type == "structural_tag":
        raise invalid("response_format: structural_tag is known to vLLM only", param="response_format")
    field = "response_format.json_schema.schema"
    if wanted.json_schema is None or "schema" not in wanted.json_schema:
        raise invalid(f"{field} is missing", param="response_format")
    return [(field, schema_guide(wanted.json_schema["schema"], field))]


def _structured(request: SamplingFields) -> list[tuple[str, Guide]]:
    wanted = request.structured_outputs
    if wanted is None:
        return []
    prefix = "structured_outputs."
    found = _named(wanted.json, wanted.regex, wanted.choice, wanted.grammar, prefix)
    if wanted.json_object:
        found.append((prefix + "json_object", Guide("json_schema", ANY_OBJECT)))
    if not found:
        raise invalid("structured_outputs: expected json, regex, choice, grammar or json_object", param=prefix[:-1])
    return found


def _guided(request: SamplingFields) -> list[tuple[str, Guide]]:
    return _named(
        request.guided_json, request.guided_regex, request.guided_choice, request.guided_grammar, prefix="guided_"
    )


def _named(
    schema: Any, regex: str | None, choice: list[str] | None, grammar: str | None, prefix: str
) -> list[tuple[str, Guide]]:
    found = []
    if schema is not None:
        found.append((prefix + "json", schema_guide(schema, prefix + "json")))
    if regex is not None:
        found.append((prefix + "regex", Guide("regex", regex)))
    if choice is not None:
        found.append((prefix + "choice", choice_guide(choice, prefix + "choice")))
    if grammar is not None:
        found.append((prefix + "grammar", Guide("grammar", grammar)))
    return found

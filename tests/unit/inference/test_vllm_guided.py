"""The older words for guided output, said in the ones that vLLM reads today."""

from __future__ import annotations

import msgspec
import pytest

from kaito.inference.engines.vllm.guided import FIELDS, with_structured_outputs
from kaito.web.openai.errors import ApiError


@pytest.mark.parametrize(("old", "new"), FIELDS.items())
def test_each_older_field_becomes_the_newer_one_and_nothing_else_changes(old: str, new: str):
    rest = {"model": "m", "prompt": 'says "guided_json"', "seed": 1 << 62, "temperature": 0.1}
    said = with_structured_outputs(msgspec.json.encode(rest | {old: "x"}))
    assert msgspec.json.decode(said) == rest | {"structured_outputs": {new: "x"}}


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "m",  "prompt": "x"}',
        b'{"prompt": "\\"guided_json\\""}',
        b'{"guided_json": null}',
        b'["guided_json"]',
        b'{"guided_json": ',
    ],
)
def test_what_says_nothing_of_the_kind_stays_byte_for_byte(body: bytes):
    assert with_structured_outputs(body) == body


@pytest.mark.parametrize(
    "more",
    [{"guided_regex": "y"}, {"response_format": {"type": "json_object"}}, {"structured_outputs": {"regex": "y"}}],
)
def test_two_fields_that_exclude_one_another_are_refused(more: dict):
    with pytest.raises(ApiError, match="one of them only") as refused:
        with_structured_outputs(msgspec.json.encode({"guided_json": {}} | more))
    assert refused.value.param == "guided_json"


def test_a_format_that_is_plain_text_excludes_nothing():
    body = msgspec.json.encode({"guided_regex": "y", "response_format": {"type": "text"}})
    assert msgspec.json.decode(with_structured_outputs(body))["structured_outputs"] == {"regex": "y"}

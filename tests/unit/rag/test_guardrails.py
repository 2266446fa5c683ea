"""Guardrails: a stream says exactly what the whole answer would have said, however it is cut."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito.rag.guardrails.policy import PolicyInvalid, read_policy

WORDS = [
    "secret", "secrets", "the", "a", "ada@example.org", "192.168.1.20", "4111 1111 1111 1111", "sk-" + "a1" * 12,
    "+49 170 1234567", "\u200b", "\u202e", "top", "secret.", "Bearer " + "x" * 30, "naïve", "1.2.3", "\n",
]  # fmt: skip
STREAMABLE: list[dict[str, Any]] = [
    {"type": "ban_substrings", "substrings": ["secret", "top secret"]},
    {"type": "ban-substrings", "substrings": ["ecr"], "matchType": "str"},
    {"type": "secrets"},
    {"type": "secrets", "redactMode": "partial"},
    {"type": "sensitive"},
    {"type": "invisible_text"},
    {"type": "regex", "patterns": ["[a-z]{2}cre", "\\d\\.\\d"]},
]


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join),
    st.lists(st.integers(0, 80), max_size=10),
    st.sampled_from(STREAMABLE),
    st.sampled_from(["block", "redact"]),
)
def test_stream_says_what_the_whole_answer_says(
    text: str, cuts: list[int], scanner: dict[str, Any], action: str
) -> None:
    policy = read_policy(yaml.safe_dump({"action": action, "scanners": [scanner]}))
    assert policy.not_streamable() == []
    whole = policy.judge(text)
    stream = policy.stream()
    places = sorted({cut for cut in cuts if cut < len(text)})
    pieces = [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
    said = "".join(stream.feed(piece, is_last=at == len(pieces) - 1) for at, piece in enumerate(pieces))
    assert stream.is_blocked == whole.is_blocked
    if whole.is_blocked:
        assert not policy.judge(said).is_blocked
    else:
        assert said == whole.text


@pytest.mark.parametrize(
    ("scanner", "text", "expected"),
    [
        ({"type": "regex", "patterns": [r"https?://\S+"]}, "Visit http://x.y now", "Visit [REDACTED] now"),
        ({"type": "regex", "patterns": ["yes|no"], "isBlocked": False}, "maybe", "[REDACTED]"),
        ({"type": "ban_substrings", "substrings": ["a", "b"], "containsAll": True}, "a c", "a c"),
        ({"type": "ban_substrings", "substrings": ["a", "b"], "containsAll": True}, "a b", "[REDACTED] [REDACTED]"),
        ({"type": "json"}, 'see {"a": [1, 2,],}', 'see {"a": [1, 2]}'),
        ({"type": "json", "requiredElements": 1}, "none", "[REDACTED]"),
        ({"type": "reading_time", "maxTime": 0.01, "truncate": True}, "one two three", "one two"),
        ({"type": "token_limit", "limit": 2}, "one two three", "one two"),
        ({"type": "secrets", "redactMode": "partial"}, "AKIAABCDEFGHIJKLMNOP", "AK..OP"),
        ({"type": "sensitive"}, "4111 1111 1111 1111 and 4111 1111 1111 1112", "<CREDIT_CARD> and 4111 1111 1111 1112"),
        ({"type": "invisible_text"}, "a\u200bb \U0001f469\u200d\U0001f680", "ab \U0001f469\u200d\U0001f680"),
    ],
)
def test_scanner(scanner: dict[str, Any], text: str, expected: str) -> None:
    assert read_policy(yaml.safe_dump({"scanners": [scanner]})).judge(text).text == expected


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        ("[", "YAML"),
        ("", "scanners"),
        ("scanners: []", "scanners"),
        ("action: drop\nscanners: [{type: secrets}]", "drop"),
        ("scanners: [{type: telepathy}]", "telepathy"),
        ("scanners: [{type: regex, patterns: ['(']}]", "scanners[0] (regex)"),
        ("scanners: [{type: regex, patterns: [a], unknown: 1}]", "unknown"),
    ],
)
def test_a_policy_that_cannot_be_applied_is_refused_with_its_fault(policy: str, named: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        read_policy(policy)
    assert named in str(caught.value)

"""Scanners: a text in, what is wrong with it out. Types and fields are upstream's (llm-guard's output scanners)."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from re import _parser as regex_parser  # type: ignore[attr-defined]  # the only way to a pattern's width
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

REDACTED = "[REDACTED]"
HOLD_MAX = 1024  # characters that a stream may be held back for one scanner
WORDS_PER_MINUTE = 200

Action: TypeAlias = Literal["block", "redact"]


@dataclass(frozen=True, slots=True)
class Span:
    start: int
    end: int
    replacement: str = REDACTED


@dataclass(frozen=True, slots=True)
class Scanner:
    """`scan` gives spans in order, without overlap; none: nothing is wrong. `hold`: characters at the end of an
    unfinished text that may still become part of a span; None: the scanner needs the whole text."""

    type: str
    action: Action
    scan: Callable[[str], Sequence[Span]]
    hold: int | None


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid")
    action: Action | None = None

    def build(self) -> tuple[Callable[[str], Sequence[Span]], int | None]:
        raise NotImplementedError


class Regex(_Fields):
    patterns: list[str] = Field(min_length=1)
    match_type: Literal["search", "fullmatch"] = "search"
    is_blocked: bool = True

    @field_validator("patterns")
    @classmethod
    def _compile(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"pattern {pattern!r} is no regular expression: {error}") from None
        return patterns

    def build(self) -> tuple[Callable[[str], Sequence[Span]], int | None]:
        compiled = [re.compile(pattern) for pattern in self.patterns]
        if self.match_type == "fullmatch" or not self.is_blocked:
            return partial(_whole_match, compiled, self.match_type == "fullmatch", self.is_blocked), None
        width = max(int(regex_parser.parse(pattern).getwidth()[1]) for pattern in self.patterns)
        looks_around = any(
            mark in pattern for pattern in self.patterns for mark in ("(?=", "(?!", "(?<", "^", "$", "\\Z")
        )
        hold = width + 1 if width <= HOLD_MAX and not looks_around else None
        return partial(_matches, compiled), hold


def _whole_match(compiled: Sequence[re.Pattern[str]], is_full: bool, is_blocked: bool, text: str) -> Sequence[Span]:
    matched = any(one.fullmatch(text) if is_full else one.search(text) for one in compiled)
    return [Span(0, len(text))] if matched == is_blocked else []


def _matches(compiled: Sequence[re.Pattern[str]], text: str) -> Sequence[Span]:
    return merged(
        Span(*found.span()) for one in compiled for found in one.finditer(text) if found.end() > found.start()
    )


class BanSubstrings(_Fields):
    substrings: list[str] = Field(min_length=1)
    match_type: Literal["word", "str"] = "word"
    case_sensitive: bool = False
    contains_all: bool = False

    @field_validator("substrings")
    @classmethod
    def _not_empty(cls, substrings: list[str]) -> list[str]:
        if not all(substrings):
            raise ValueError("a substring is empty")
        return substrings

    def build(self) -> tuple[Callable[[str], Sequence[Span]], int | None]:
        flags = re.NOFLAG if self.case_sensitive else re.IGNORECASE
        edge = (r"(?<!\w)", r"(?!\w)") if self.match_type == "word" else ("", "")
        compiled = [re.compile(f"{edge[0]}{re.escape(one)}{edge[1]}", flags) for one in self.substrings]
        longest = max(len(one) for one in self.substrings)
        if self.contains_all:
            return partial(_all_matches, compiled), None
        return partial(_matches, compiled), longest + 1 if longest <= HOLD_MAX else None


def _all_matches(compiled: Sequence[re.Pattern[str]], text: str) -> Sequence[Span]:
    return _matches(compiled, text) if all(one.search(text) for one in compiled) else []


class Json(_Fields):
    required_elements: int = Field(default=0, ge=0)
    repair: bool = True

    def build(self) -> tuple[Callable[[str], Sequence[Span]], int | None]:
        return partial(_bad_json, self.required_elements, self.repair), None


def _bad_json(required: int, repairs: bool, text: str) -> Sequence[Span]:
    spans: list[Span] = []
    count = 0
    for start, end in _json_candidates(text):
        piece = text[start:end]
        try:
            json.loads(piece)
            count += 1
        except ValueError:
            repaired = re.sub(r",\s*([}\]])", r"\1", piece)
            try:
                json.loads(repaired)
                count += 1
                if repairs:
                    spans.append(Span(start, end, repaired))
            except ValueError:
                spans.append(Span(start, end))
    return [Span(0, len(text))] if count < required else spans


def _json_candidates(text: str) -> Iterator[tuple[int, int]]:
    """Outermost pairs of brackets."""
    start, depth, quoted, escaped = 0, 0, False, False
    for at, character in enumerate(text):
        if depth and quoted:
            quoted, escaped = (character != '"' or escaped), (character == "\\" and not escaped)
        elif depth and character == '"':
            quoted = True
        elif character in "{[":
            start = at if not depth else start
            depth += 1
        elif character in "}]" and depth:
            depth -= 1
            if not depth:
                yield start, at + 1
    if depth:
        yield start, len(text)


class ReadingTime(_Fields):
    max_time: float = Field(gt=0)
    truncate: bool = False

    def build(self) -> tuple[Callable[[str], Sequence[Span]], int | None]:
        return partial(_too_long_to_read, int(self.max_time * WORDS_PER_MINUTE), self.truncate), None


def _too_long_to_read(words: int, truncates: bool, text: str) -> Sequence[Span]:
    found = list(re.finditer(r"\S+", text))
    if len(found) <= words:
        return []
    start = found[words - 1].end() if words else 0
    return [Span(start, len(text), "")] if truncates else [Span(0, len(text))]


class TokenLimit(_Fields):
    limit: int = Field(default=4096, ge=1)
    encoding_name: str = "cl100k_base"
    model_name: str | None = None

    def build(self) -> tuple[Callable[[str], Sequence[Span]], int | None]:
        from kaito.rag.tokens import open_encoding

        encoding = open_encoding(self.encoding_name)
        return partial(_too_many_tokens, self.limit, encoding), None


def _too_many_tokens(limit: int, encoding: Any, text: str) -> Sequence[Span]:
    tokens = encoding.encode_ordinary(text)
    if len(tokens) <= limit:
        return []
    kept = encoding.decode(tokens[:limit], errors="ignore")
    return [Span(len(kept), len(text), "")]


SECRETS = tuple(
    re.compile(pattern)
    for pattern in (
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]{0,900}(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?",
        r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA)[0-9A-Z]{16}\b",
        r"\bAIza[0-9A-Za-z_\-]{35}",
        r"\bgh[pousr]_[0-9A-Za-z]{36,255}\b",
        r"\bgithub_pat_[0-9A-Za-z_]{22,255}\b",
        r"\bglpat-[0-9A-Za-z_\-]{20,64}",
        r"\bxox[abposr]-[0-9A-Za-z\-]{10,200}",
        r"\bsk-[0-9A-Za-z_\-]{20,200}",
        r"\bhf_[0-9A-Za-z]{30,64}\b",
        r"\beyJ[0-9A-Za-z_\-]{8,300}\.eyJ[0-9A-Za-z_\-]{8,400}\.[0-9A-Za-z_\-]{8,200}",
        r"\bAccountKey=[0-9A-Za-z+/]{40,100}={0,2}",
        r"(?i:\bbearer )[0-9A-Za-z._~+/\-]{16,400}=*",
        r"(?i:\b(?:password|passwd|api[_-]?key|secret|token)[\"']?\s{0,3}[:=]\s{0,3})[\"']?[^\s\"',;]{8,200}[\"']?",
    )
)


class Secrets(_Fields):
    redact_mode: Literal["all", "partial", "hash"] = "all"

    def build(self) -> tuple[Callable[[str], Sequence[Span]], int | None]:
        return partial(_secrets, self.redact_mode), HOLD_MAX


def _secrets(mode: str, text: str) -> Sequence[Span]:
    found = (match for one in SECRETS for match in one.finditer(text))
    return merged(Span(*match.span(), _hidden(match[0], mode)) for match in found)


def _hidden(secret: str, mode: str) -> str:
    match mode:
        case "partial":
            return f"{secret[:2]}..{secret[-2:]}"
        case "hash":
            return hashlib.sha256(secret.encode()).hexdigest()
        case _:
            return "******"


DETECTORS: dict[str, re.Pattern[str]] = {
    "email": re.compile(r"\b[\w.+\-]{1,64}@(?:[\w\-]{1,63}\.){1,8}[A-Za-z]{2,24}\b"),
    "phone": re.compile(
        r"(?<![\w.])(?<!\d[ \-])"  # not from the middle of a longer number, nor up to it
        r"(?:\+\d{1,3}[ .\-]?)?(?:\(\d{2,4}\)|\d{2,4})[ .\-]\d{3,4}[ .\-]?\d{3,4}(?![\w.]|[ \-]\d)"
    ),
    "credit_card": re.compile(r"(?<![\w.])\d(?:[ \-]?\d){12,18}(?![\w.])"),
    "ip_address": re.compile(
        r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w]|\.\d)"
        r"|(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}(?![\w:])"
    ),
}
Detector: TypeAlias = Literal["email", "phone", "credit_card", "ip_address"]


class Sensitive(_Fields):
    detectors: list[Detector] = Field(default=["email", "phone", "credit_card", "ip_address"], min_length=1)

    def build(self) -> tuple[Callable[[str], Sequence[Span]], int | None]:
        return partial(_sensitive, tuple(self.detectors)), 640  # the longest e-mail address that is looked for


def _sensitive(detectors: Sequence[str], text: str) -> Sequence[Span]:
    found = ((name, match) for name in detectors for match in DETECTORS[name].finditer(text))
    return merged(
        Span(*match.span(), f"<{name.upper()}>") for name, match in found if name != "credit_card" or _luhn(match[0])
    )


def _luhn(text: str) -> bool:
    digits = [int(character) for character in text if character.isdigit()]
    doubled = (2 * digit - 9 if digit > 4 else 2 * digit for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


class InvisibleText(_Fields):
    def build(self) -> tuple[Callable[[str], Sequence[Span]], int | None]:
        return _invisible, 2


JOINERS = "\u200c\u200d"  # Persian and emoji need them between letters of theirs


def _invisible(text: str) -> Sequence[Span]:
    if text.isascii():
        return []
    spans: list[Span] = []
    for at, character in enumerate(text):
        if unicodedata.category(character) not in ("Cf", "Co", "Cn"):
            continue
        around = text[at - 1 : at] + text[at + 1 : at + 2]
        if character in JOINERS and len(around) == 2 and not any(one.isascii() for one in around):
            continue
        spans.append(Span(at, at + 1, ""))
    return spans


def merged(spans: Iterator[Span] | Sequence[Span]) -> list[Span]:
    """In order; of those that overlap, one that covers them."""
    done: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.start, -one.end)):
        if done and span.start < done[-1].end:
            done[-1] = Span(done[-1].start, max(done[-1].end, span.end), done[-1].replacement)
        else:
            done.append(span)
    return done


TYPES: dict[str, type[_Fields]] = {
    "regex": Regex,
    "ban_substrings": BanSubstrings,
    "json": Json,
    "reading_time": ReadingTime,
    "token_limit": TokenLimit,
    "secrets": Secrets,
    "sensitive": Sensitive,
    "invisible_text": InvisibleText,
}


def build_scanner(kind: str, given: dict[str, Any], default: Action) -> Scanner:
    """Raises ValueError (pydantic's ValidationError included) for an unknown type or field."""
    if kind not in TYPES:
        raise ValueError(f"scanner type {kind!r}: expected one of {', '.join(TYPES)}")
    fields = TYPES[kind].model_validate(given)
    scan, hold = fields.build()
    return Scanner(kind, fields.action or default, scan, hold)

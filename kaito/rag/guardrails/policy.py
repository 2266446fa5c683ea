"""A policy: scanners in order, and what they do to a text, whole or as it streams."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import ValidationError

from kaito.rag.guardrails.scanners import Action, Scanner, Span, build_scanner

BLOCK_MESSAGE = "The model output was blocked by output guardrails."


class PolicyInvalid(ValueError):
    """What is wrong in the policy's file, and where."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`text`: what may be said. `hits`: (scanner type, action)."""

    text: str
    is_blocked: bool
    hits: tuple[tuple[str, Action], ...]


@dataclass(frozen=True, slots=True)
class Policy:
    scanners: tuple[Scanner, ...]
    block_message: str = BLOCK_MESSAGE

    def not_streamable(self) -> list[str]:
        """Types of the scanners that need the whole text."""
        return [one.type for one in self.scanners if one.hold is None]

    def judge(self, text: str) -> Verdict:
        """Redacts, then blocks what is left to block. Takes CPU time. Raises whatever a scanner raises: fail closed."""
        hits: list[tuple[str, Action]] = []
        for scanner in _of("redact", self.scanners):
            if spans := scanner.scan(text):
                hits.append((scanner.type, "redact"))
                text = redacted(text, spans)
        for scanner in _of("block", self.scanners):
            if scanner.scan(text):
                return Verdict(self.block_message, True, (*hits, (scanner.type, "block")))
        return Verdict(text, False, tuple(hits))

    def stream(self) -> StreamGuard:
        return StreamGuard(self)


def _of(action: Action, scanners: Sequence[Scanner]) -> Iterator[Scanner]:
    return (one for one in scanners if one.action == action)


def redacted(text: str, spans: Sequence[Span]) -> str:
    pieces: list[str] = []
    at = 0
    for span in spans:
        pieces += (text[at : span.start], span.replacement)
        at = span.end
    return "".join((*pieces, text[at:]))


@dataclass(slots=True)
class StreamGuard:
    """Judges a text that comes in pieces: what `feed` returns can no longer become part of a hit.

    Each scanner is a stage that holds back its own few characters at the end, or as far back as a hit that touches
    them.
    """

    policy: Policy
    is_blocked: bool = False
    hits: list[tuple[str, Action]] = field(default_factory=list)
    _stages: list[_Stage] = field(default_factory=list)

    def __post_init__(self) -> None:
        ordered = (*_of("redact", self.policy.scanners), *_of("block", self.policy.scanners))
        self._stages = [_Stage(scanner) for scanner in ordered]

    def feed(self, piece: str, *, is_last: bool = False) -> str:
        """The text that may be said now; nothing once `is_blocked`. Takes CPU time; raises what a scanner raises."""
        if self.is_blocked:
            return ""
        for stage in self._stages:
            piece, has_hit = stage.feed(piece, is_last)
            if has_hit:
                self.hits.append((stage.scanner.type, stage.scanner.action))
                if stage.scanner.action == "block":
                    self.is_blocked = True
                    return ""
        return piece


@dataclass(slots=True)
class _Stage:
    """`_context` characters before `_held` have been let go; a scanner sees them for its word boundaries."""

    scanner: Scanner
    _context: str = ""
    _held: str = ""

    def feed(self, piece: str, is_last: bool) -> tuple[str, bool]:
        self._held += piece
        text = self._context + self._held
        base = len(self._context)
        spans = [span for span in self.scanner.scan(text) if span.end > base]
        cut = len(text) if is_last else max(len(text) - (self.scanner.hold or 0), base)
        # A hit that reaches into what is held back may still grow: it is held back whole.
        cut = min([cut, *(max(span.start, base) for span in spans if span.end > cut)])
        settled = [span for span in spans if span.end <= cut]
        here = [Span(max(span.start, base) - base, span.end - base, span.replacement) for span in settled]
        out = redacted(text[base:cut], here)
        self._context, self._held = text[max(cut - 8, 0) : cut], text[cut:]
        return out, bool(settled)


def read_policy(text: str) -> Policy:
    """Raises PolicyInvalid."""
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PolicyInvalid(f"the policy is not YAML: {error}") from None
    if not isinstance(given, dict):
        raise PolicyInvalid("the policy is empty or not a mapping: it needs the key `scanners`")
    given = _normalised(given)
    action = str(given.get("action", "redact")).lower()
    default: Action = "block" if action == "block" else "redact"
    if action not in ("block", "redact"):
        raise PolicyInvalid(f"action: {action!r} is neither block nor redact")
    entries = given.get("scanners")
    if not isinstance(entries, list) or not entries:
        raise PolicyInvalid("scanners: expected a list of at least one scanner; switch guardrails off to have none")
    message = given.get("block_message", BLOCK_MESSAGE)
    if not isinstance(message, str) or not message:
        raise PolicyInvalid("blockMessage: expected a text")
    return Policy(tuple(_scanner(at, entry, default) for at, entry in enumerate(entries)), message)


def _scanner(at: int, entry: Any, default: Action) -> Scanner:
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise PolicyInvalid(f"scanners[{at}]: expected a mapping with a `type`")
    given = _normalised(entry)
    kind = snake_case(given.pop("type"))
    try:
        return build_scanner(kind, given, default)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise PolicyInvalid(f"scanners[{at}] ({kind}): {faults}") from None
    except ValueError as error:
        raise PolicyInvalid(f"scanners[{at}]: {error}") from None


def snake_case(text: str) -> str:
    """`redactMode`, `redact-mode` and `redact_mode` are one."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", text).replace("-", "_").lower()


def _normalised(given: dict[Any, Any]) -> dict[str, Any]:
    return {snake_case(str(key)): value for key, value in given.items()}

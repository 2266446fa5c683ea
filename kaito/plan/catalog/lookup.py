"""Lookup: what the model hub says of org/model, as a value, as text (the answer to a `Read`) and in a status."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Literal

import msgspec
from pydantic.alias_generators import to_camel

from kaito.api.meta import Json
from kaito.plan.catalog.presets import Preset

NAME_CHARS_MAX = 96  # of each part, as Hugging Face has it
PART = rf"[A-Za-z0-9_][A-Za-z0-9._-]{{0,{NAME_CHARS_MAX - 1}}}"
HUB_NAME = re.compile(rf"{PART}/{PART}")

Outcome = Literal["found", "off", "gated", "missing", "unsupported", "unreachable", "no-token"]


@dataclass(frozen=True, slots=True)
class Lookup:
    """`model` is there if, and only if, it was found. `again_s`: how long the answer holds, in seconds.

    `no-token`: the hub was not asked, because the Secret that should hold the token could not be read.
    """

    outcome: Outcome
    message: str = ""
    model: Preset | None = None
    is_gated: bool = False
    again_s: float = 0.0


def is_hub_name(name: str) -> bool:
    """Whether this can be the name of a hub's model: two parts of letters, digits, dots, hyphens and underscores."""
    return HUB_NAME.fullmatch(name) is not None and ".." not in name and "--" not in name


def lookup_text(lookup: Lookup) -> str:
    return msgspec.json.encode(lookup).decode()


def parse_lookup(text: str) -> Lookup | None:
    """None where the text is no Lookup (of another version, say)."""
    try:
        found = msgspec.json.decode(text.encode(), type=Lookup)
    except msgspec.DecodeError:
        return None
    return found if (found.model is not None) == (found.outcome == "found") else None


def model_status(name: str, model: Preset) -> Json:
    """`status.model`: what is known of a hub's model, under the name by which it was asked for.

    Numbers with fractions are texts, as Kubernetes asks; what does not apply is left out.
    """
    facts = {to_camel(field.name): getattr(model, field.name) for field in fields(model)}
    kept = {key: value for key, value in facts.items() if value}
    return {"name": name, **kept, "weightsGib": f"{model.weights_gib:.2f}"}


def model_of_status(name: str, status: Json) -> Preset | None:
    """The model that `status.model` holds for this name; None where it holds none that can be read."""
    kept = status.get("model")
    if not isinstance(kept, dict) or kept.get("name") != name:
        return None
    kinds = {field.name: field.type for field in fields(Preset)}
    facts = {key: kept.get(to_camel(key), "" if kind == "str" else 0) for key, kind in kinds.items()}
    try:
        found = msgspec.convert(facts, Preset, strict=False)
    except msgspec.ValidationError:
        return None
    is_whole = found.model_id and found.layers > 0 and found.attention_heads > 0 and found.kv_heads > 0
    return found if is_whole else None

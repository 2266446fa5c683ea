"""Bodies: what a client may send and in which shape it wants the answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml

from kaito.local.apiserver import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, StatusError
from kaito.local.apiserver.errors import bad_request, unsupported_media_type
from kaito.local.apiserver.json_values import DEPTH_MAX

JSON_TYPE, YAML_TYPE = "application/json", "application/yaml"
PATCHES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
META = "meta.k8s.io"
YAML_BYTES_INLINE_MAX = 64 << 10
NESTING_WHY = "the body is nested too deeply"


@dataclass(frozen=True, slots=True)
class Shape:
    """How to answer: as what (empty: the object itself), in which version of it, as JSON or YAML."""

    media_type: str = JSON_TYPE
    as_: str = ""
    group: str = ""
    version: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}"


def shapes_of(accept: str) -> list[Shape]:
    """The shapes that an Accept header asks for and we can make, in its order. Parameter q is not looked at."""
    found = []
    for part in (accept or "*/*").split(","):
        media_type, *rest = (word.strip() for word in part.split(";"))
        options = dict(word.split("=", 1) for word in rest if "=" in word)
        if media_type in ("*/*", "application/*", JSON_TYPE):
            found.append(Shape(JSON_TYPE, options.get("as", ""), options.get("g", ""), options.get("v", "")))
        elif media_type in (YAML_TYPE, "text/yaml"):
            found.append(Shape(YAML_TYPE))
    return found


def shape_of(accept: str, known: tuple[str, ...]) -> Shape:
    """The first shape of these that the header asks for. Raises StatusError 406."""
    for shape in shapes_of(accept):
        if not shape.as_ or (shape.as_ in known and shape.group == META and shape.version in ("v1", "v1beta1")):
            return shape
    raise StatusError(
        406, "NotAcceptable", f"only the following media types are accepted: {JSON_TYPE}, {YAML_TYPE} (asked: {accept})"
    )


def encode(value: Any, media_type: str = JSON_TYPE) -> bytes:
    if media_type == YAML_TYPE:
        return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).encode()
    return msgspec.json.encode(value)


def decode(body: bytes, content_type: str, *, accepted: tuple[str, ...] = (JSON_TYPE, YAML_TYPE)) -> Any:
    """The value of a body. Raises StatusError 400 that shows where it breaks off, 415 for another media type."""
    media_type = content_type.partition(";")[0].strip().lower() or JSON_TYPE
    if media_type not in accepted:
        raise unsupported_media_type(media_type)
    try:
        if media_type.endswith("yaml") and not body.lstrip().startswith(b"{"):
            return _plain_yaml(body)
        return msgspec.json.decode(body)
    except RecursionError as error:
        raise bad_request(NESTING_WHY) from error
    except (msgspec.DecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise bad_request(f"the body is not {media_type}: {error}") from error


async def decoded(body: bytes, content_type: str, *, accepted: tuple[str, ...] = (JSON_TYPE, YAML_TYPE)) -> Any:
    """`decode`, which in a large YAML body takes seconds, and must not stop everything else meanwhile."""
    if len(body) > YAML_BYTES_INLINE_MAX and body.lstrip()[:1] != b"{" and "yaml" in content_type:
        return await asyncio.to_thread(decode, body, content_type, accepted=accepted)
    return decode(body, content_type, accepted=accepted)


def _plain_yaml(body: bytes) -> Any:
    """YAML as JSON has it: no anchors (a few of them make gigabytes), and times stay text. Raises YAMLError."""
    depth = 0
    for event in yaml.parse(body, Loader=PlainLoader):  # flat, where composing recurses, in C without a limit
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("anchors and aliases are not accepted here")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH_MAX:
            raise yaml.YAMLError(f"it is nested more than {DEPTH_MAX} levels deep")
    try:  # keys become texts, and what JSON has not (sets, bytes) something that it has
        return msgspec.json.decode(msgspec.json.encode(yaml.load(body, PlainLoader)))
    except (TypeError, OverflowError) as error:
        raise yaml.YAMLError(str(error)) from error


class PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """libyaml's, ten times faster, where PyYAML was built with it."""


PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

"""The name of an image: `[registry/]repository[:tag][@digest]`, as docker reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_REGISTRY = "docker.io"
PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
HOST = re.compile(r"(?:\[[0-9A-Fa-f:]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
REPOSITORY_CHARACTERS_MAX = 255


@dataclass(frozen=True, slots=True)
class ImageName:
    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def reference(self) -> str:
        """What a registry is asked for: the digest, the tag, or `latest`."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        tag, digest = f":{self.tag}" if self.tag else "", f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def parse_image(text: str) -> ImageName:
    """The parts of the name. Raises ValueError that shows the text and what a name looks like."""
    rest, at, digest = text.partition("@")
    first, slash, after = rest.partition("/")
    has_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
    registry, path = (first, after) if has_registry else (DEFAULT_REGISTRY, rest)
    repository, colon, tag = path.partition(":")
    if not has_registry and "/" not in repository:
        repository = f"library/{repository}"
    is_valid = (
        HOST.fullmatch(registry)
        and all(PART.fullmatch(part) for part in repository.split("/"))
        and len(repository) <= REPOSITORY_CHARACTERS_MAX
        and (not colon or TAG.fullmatch(tag))
        and (not at or DIGEST.fullmatch(digest))
    )
    if not is_valid:
        raise ValueError(
            f"{text!r} is not the name of an image: expected [registry/]repository[:tag][@sha256:…] in lower case, "
            "for example ghcr.io/org/adapter:1"
        )
    return ImageName(registry, repository, tag, digest)

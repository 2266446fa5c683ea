"""Target: what a REST path of the Kubernetes API names. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

PROXIES = frozenset(("pods", "services", "nodes"))


@dataclass(frozen=True, slots=True)
class Target:
    """`rest`: the still encoded path after `…/proxy`, with its leading slash."""

    group: str
    version: str
    namespace: str = ""
    plural: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""


def parse_target(raw_path: str) -> Target | None:
    """The target of `/api/v1/…` or `/apis/GROUP/VERSION/…` (percent-encoded); None for any other path."""
    parts = raw_path.split("/")
    if len(parts) > 3 and parts[:2] == ["", "api"] and parts[2]:
        group, version, parts = "", parts[2], parts[3:]
    elif len(parts) > 4 and parts[:2] == ["", "apis"] and parts[2] and parts[3]:
        group, version, parts = parts[2], parts[3], parts[4:]
    else:
        return None
    namespace = ""
    if len(parts) > 2 and parts[0] == "namespaces" and parts[1] and parts[2] not in ("", "status", "finalize"):
        namespace, parts = unquote(parts[1]), parts[2:]
    rest = ""
    if len(parts) > 2 and parts[0] in PROXIES and parts[2] == "proxy":
        rest, parts = "/" + "/".join(parts[3:]), parts[:3]
    while parts and not parts[-1]:
        parts.pop()
    if not parts or len(parts) > 3 or not all(parts):
        return None
    plural, name, subresource = (unquote(part) for part in (*parts, "", "")[:3])
    return Target(unquote(group), unquote(version), namespace, plural, name, subresource, rest)

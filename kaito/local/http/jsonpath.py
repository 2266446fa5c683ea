"""The JSONPath of printer columns: fields, indices, wildcards and equality filters. Pure."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

Step: TypeAlias = tuple[str, Any]  # field NAME | index N | all None | filter (path, operator, value)

TOKEN = re.compile(
    r"""\.(?P<field>(?:\\.|[^.\[\]\\])+)
      | \[\?\(@(?P<path>[^=!<>()]*?)\s*(?P<operator>==|!=)\s*(?P<value>"[^"]*"|'[^']*'|[^)]*?)\s*\)\]
      | \[(?P<star>\*)\]
      | \[(?P<index>-?\d+)\]
      | \[(?P<quoted>'[^']*'|"[^"]*")\]""",
    re.VERBOSE,
)


def parse_path(text: str) -> tuple[Step, ...]:
    """Raises ValueError that shows what cannot be read."""
    steps: list[Step] = []
    place = 0
    text = text.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    while place < len(text):
        match = TOKEN.match(text, place)
        if match is None:
            raise ValueError(f"JSONPath {text!r}: cannot read {text[place:]!r}")
        place = match.end()
        steps.append(_step(match))
    return tuple(steps)


def _step(match: re.Match[str]) -> Step:
    if (field := match["field"]) is not None:
        return ("all", None) if field == "*" else ("field", re.sub(r"\\(.)", r"\1", field))
    if match["star"]:
        return "all", None
    if match["index"] is not None:
        return "index", int(match["index"])
    if match["quoted"] is not None:
        return "field", match["quoted"][1:-1]
    return "filter", (parse_path(match["path"]), match["operator"], _literal(match["value"]))


def _literal(text: str) -> Any:
    if text[:1] in ("'", '"'):
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        return text


def find(value: Any, steps: tuple[Step, ...]) -> list[Any]:
    """All that the path leads to, in order."""
    found = [value]
    for kind, argument in steps:
        found = [result for item in found for result in _follow(item, kind, argument)]
    return found


def _follow(value: Any, kind: str, argument: Any) -> list[Any]:
    match kind:
        case "field":
            return [value[argument]] if isinstance(value, dict) and argument in value else []
        case "index":
            is_there = isinstance(value, list) and -len(value) <= argument < len(value)
            return [value[argument]] if is_there else []
        case "all":
            return list(value) if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
        case _:
            path, operator, wanted = argument
            items = value if isinstance(value, list) else []
            return [item for item in items if (wanted in find(item, path)) is (operator == "==")]

"""Rules that kinds share."""

from __future__ import annotations

from collections.abc import Callable

from kaito.api.names import WORKSPACE_NAME_LENGTH_MAX, is_reserved_label
from kaito.api.workspace import ResourceSpec
from kaito.plan.validate.rules import Found


def name_rule(name: str) -> Found:
    """What the server accepts in our object and refuses in its pods or Services."""
    step = "choose another name (a name cannot be changed)"
    if len(name) > WORKSPACE_NAME_LENGTH_MAX:
        yield "metadata.name", f"{len(name)} characters, of which pods allow {WORKSPACE_NAME_LENGTH_MAX}", step
    if name[:1].isdigit() or "." in name:
        what = f"{name!r} cannot name a Service: it must start with a letter and hold no dot"
        yield "metadata.name", what, step


def selector_rules() -> tuple[tuple[str, Callable[[ResourceSpec, str], Found]], ...]:
    return (("7", _convertible), ("8", _not_only_reserved))


def _convertible(resource: ResourceSpec, where: str) -> Found:
    for index, item in enumerate(resource.label_selector.match_expressions):
        if item.operator != "In" or len(item.values) != 1:
            yield (
                f"{where}.labelSelector.matchExpressions[{index}]",
                f"{item.key} {item.operator} {list(item.values)}",
                "use matchLabels, or In with exactly one value",
            )


def _not_only_reserved(resource: ResourceSpec, where: str) -> Found:
    labels = resource.label_selector.match_labels
    if labels and all(is_reserved_label(key) for key in labels):
        what = f"{', '.join(sorted(labels))}: set by operators alone"
        yield f"{where}.labelSelector.matchLabels", what, "add a label of your own"


def choose(what: str, similar: tuple[str, ...], command: str) -> str:
    """The remedy for a name that nobody knows."""
    return f"choose another {what}" + (f", such as {', '.join(similar)}" if similar else f" (see `{command}`)")

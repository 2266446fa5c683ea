"""Violation: what one rule says of one field, and the metav1.Status that a refused request is answered with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from kaito.api.meta import Json

Severity = Literal["error", "warning"]
VALUE_CHARS_MAX = 120


@dataclass(frozen=True, slots=True)
class Violation:
    """`field` is a path such as `inference.adapters[0].source`; `value` is what stands there (None: nothing)."""

    rule: str
    field: str
    value: Any
    message: str
    remedy: str
    severity: Severity = "error"

    def __str__(self) -> str:
        return f"{self.field}: {self.told}"

    @property
    def told(self) -> str:
        """Value, message and remedy, for readers who are shown the field beside them."""
        shown = "" if self.value is None else f"{_shortened(self.value)}: "
        return f"{shown}{self.message}" + (f"; {self.remedy}" if self.remedy else "")

    @property
    def is_error(self) -> bool:
        return self.severity == "error"

    def as_warning(self) -> Violation:
        return replace(self, severity="warning")


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 1] + "…"


def errors_of(violations: Sequence[Violation]) -> tuple[Violation, ...]:
    return tuple(item for item in violations if item.is_error)


def warnings_of(violations: Sequence[Violation]) -> tuple[Violation, ...]:
    return tuple(item for item in violations if not item.is_error)


def denial(kind: str, group: str, name: str, errors: Sequence[Violation]) -> Json:
    """The metav1.Status of a refusal: 422 with one cause a violation, so that clients know not to send it again."""
    # kubectl prints a cause as "field: message".
    causes = [
        {"reason": "FieldValueInvalid", "message": f"{item.told} [{item.rule}]", "field": item.field} for item in errors
    ]
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "code": 422,
        "reason": "Invalid",
        "message": "; ".join(f"{item} [{item.rule}]" for item in errors),
        "details": {"kind": kind, "group": group, "name": name, "causes": causes},
    }

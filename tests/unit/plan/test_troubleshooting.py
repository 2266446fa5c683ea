"""docs/troubleshooting.md knows every gate and every reason that one can give; no wait is without a next step."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from kaito.plan.deletion import GATE as RELEASED
from kaito.plan.deletion import MACHINE_KINDS
from kaito.plan.gates import GATES
from kaito.plan.model import REASONS
from kaito.plan.provision.given_up import REASON as GIVEN_UP
from kaito.plan.refusals import REASON as REFUSED
from kaito.plan.verdict import EARLIER_STAGE

PLAN = Path("kaito/plan")
SOURCES = (
    *sorted((PLAN / "gates").glob("*.py")),
    *sorted((PLAN / "provision").glob("*.py")),
    *(
        PLAN / f"{name}.py"
        for name in ("deletion", "machine", "model", "repairs", "report", "sizing", "verdict", "workspace")
    ),
)
PAGE = Path("docs/troubleshooting.md")
REASON = re.compile(r"[A-Z][A-Za-z]+")
MAKERS = {"Waiting", "Failed", "_failed"}  # their second argument is a reason


def words_in(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and REASON.fullmatch(each.value):
            yield each.value


def reasons_in(tree: ast.AST) -> Iterator[str]:
    """Reasons as the source has them: arguments of verdicts, values of `reason`, first parts of returned tuples."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[_, reason, *_]) if name in MAKERS:
                if not isinstance(reason, ast.Call | ast.JoinedStr):
                    yield from words_in(reason)
            case ast.Assign(targets=[ast.Name(id="reason")], value=value):
                for part in [value.orelse, value.body] if isinstance(value, ast.IfExp) else [value]:
                    if isinstance(part, ast.Constant | ast.BoolOp):
                        yield from words_in(part)
                    elif isinstance(part, ast.IfExp):
                        yield from (*words_in(part.body), *words_in(part.orelse))
            case ast.Return(value=ast.Tuple(elts=[ast.Constant() as reason, *_])):
                yield from words_in(reason)


def all_reasons() -> set[str]:
    found = {reason for path in SOURCES for reason in reasons_in(ast.parse(path.read_text()))}
    found |= {EARLIER_STAGE, GIVEN_UP, REFUSED, *REASONS.values()}
    found |= {f"{kind.kind}{end}" for kind in MACHINE_KINDS for end in ("Terminating", "sUnknown")}
    return found


def test_the_page_tells_of_every_gate_and_every_reason() -> None:
    text = PAGE.read_text()
    gates = {gate.name for gate in GATES} | {RELEASED}
    headings = set(re.findall(r"^## (\w+)$", text, re.M))
    assert gates - headings == set()
    told = set(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", text, re.M))
    told = {word for cell in told for word in re.findall(r"`(\w+)`", cell)}
    reasons = all_reasons()
    assert {"GPUCapacityZero", "NodesTaken", "ContainerOOMKilled", "NodeDiskPressure", "ModelGated"} <= reasons
    assert reasons - told == set(), "reasons that the page does not tell of"
    assert told - reasons == set(), "reasons that no gate gives"


def test_no_verdict_is_made_without_a_next_step() -> None:
    """An empty one leaves the user alone; and where it reached a status, a server refused it."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="Waiting" | "Failed"), args=[_, _, _, _, ast.Constant(value=""), *_]):
                    raise AssertionError(f"{path}:{node.lineno}: a verdict without a next step")

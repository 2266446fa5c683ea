"""Which tool calls a request wants, and what that asks of the output."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from kaito.inference.generation import Guide
from kaito.inference.serving.guides import schema_guide
from kaito.inference.serving.tagged_calls import Schemas
from kaito.inference.serving.tool_parsers import REQUIRED, TOOL_PARSERS, Notation
from kaito.web.openai.chat import ChatRequest, Function
from kaito.web.openai.errors import invalid


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """`named`: the output is that function's arguments. `notation`: calls are looked for in the output."""

    kind: Literal["none", "named", "required", "auto"] = "none"
    named: str = ""
    notation: Notation | None = None
    guide: Guide | None = None
    calls_max: int = 1 << 30
    schemas: Schemas = field(default_factory=dict)


NO_TOOLS = ToolPlan()


def tool_plan(request: ChatRequest, *, parser: str, is_auto_allowed: bool) -> ToolPlan:
    """Raises ApiError (400)."""
    functions = [tool.function for tool in request.tools or []]
    choice = request.tool_choice if request.tool_choice is not None else ("auto" if functions else "none")
    if choice == "none":
        return NO_TOOLS
    if not functions:
        raise invalid("tool_choice is given without tools", param="tools")
    calls_max = 1 if request.parallel_tool_calls is False else 1 << 30
    if isinstance(choice, dict):
        function = _chosen(choice, functions)
        return ToolPlan("named", function.name, guide=schema_guide(_parameters(function), "tools"))
    match choice:
        case "auto":
            if parser not in TOOL_PARSERS or not is_auto_allowed:
                raise invalid(
                    'tool_choice "auto" needs a server that was started with --enable-auto-tool-choice and a '
                    f"--tool-call-parser ({', '.join(sorted(TOOL_PARSERS))}): or name a function.",
                    param="tool_choice",
                )
            schemas = {function.name: _parameters(function) for function in functions}
            return ToolPlan("auto", notation=TOOL_PARSERS[parser], calls_max=calls_max, schemas=schemas)
        case "required":
            guide = schema_guide(_any_call(functions, calls_max), "tools")
            return ToolPlan("required", notation=REQUIRED, guide=guide, calls_max=calls_max)
    expected = 'none, auto, required, or {"type": "function", "function": {"name": …}}'
    raise invalid(f"tool_choice={choice!r}: expected {expected}", param="tool_choice")


def _chosen(choice: dict[str, Any], functions: list[Function]) -> Function:
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    found = next((function for function in functions if function.name == name), None)
    if found is None:
        known = ", ".join(function.name for function in functions)
        raise invalid(f"tool_choice names {name!r}, and tools has only {known}", param="tool_choice")
    return found


def _parameters(function: Function) -> dict[str, Any]:
    return function.parameters or {"type": "object", "properties": {}}


def _any_call(functions: list[Function], calls_max: int) -> dict[str, Any]:
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": function.name}, "parameters": _parameters(function)},
            "required": ["name", "parameters"],
            "additionalProperties": False,
        }
        for function in functions
    ]
    bound = {"maxItems": 1} if calls_max == 1 else {}
    return {"type": "array", "minItems": 1, "items": {"anyOf": calls}, **bound}

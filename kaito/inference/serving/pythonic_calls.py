"""Tool calls as Python writes them: `[f(a=1), g(b="x")]`. Read when they are complete. Pure."""

from __future__ import annotations

import ast
import json

from kaito.inference.serving.call_readers import CallDelta, NotACall

NAMES = {"true": True, "false": False, "null": None}  # JSON's, which models mix in


class PythonicCalls:
    """A list of calls, or calls on lines of their own."""

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def feed(self, text: str) -> list[CallDelta]:
        self._pieces.append(text)
        return []

    def finish(self, *, is_whole: bool) -> list[CallDelta]:
        text = "".join(self._pieces)
        try:
            body = ast.parse(text.strip()).body
            if not body:
                raise ValueError("nothing")
            return [_call(node) for statement in body for node in _nodes(statement)]
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            raise NotACall(text) from error


def _nodes(statement: ast.stmt) -> list[ast.expr]:
    if not isinstance(statement, ast.Expr):
        raise ValueError("no expression")
    return statement.value.elts if isinstance(statement.value, ast.List) else [statement.value]


def _call(node: ast.expr) -> CallDelta:
    if not isinstance(node, ast.Call) or node.args or not isinstance(node.func, ast.Name | ast.Attribute):
        raise ValueError("no call")
    arguments = {keyword.arg: _value(keyword.value) for keyword in node.keywords if keyword.arg}
    return CallDelta(json.dumps(arguments, ensure_ascii=False), ast.unparse(node.func))


def _value(node: ast.expr) -> object:
    match node:
        case ast.Name(id=name) if name in NAMES:
            return NAMES[name]
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {str(_value(key)): _value(value) for key, value in zip(keys, values, strict=True) if key}
    return ast.literal_eval(node)

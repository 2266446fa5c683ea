"""A Responses request as the chat completion that it means."""

from __future__ import annotations

from typing import Any

import msgspec

from kaito.web.openai.chat import ChatRequest, Function, FunctionCall, Message, Tool, ToolCall
from kaito.web.openai.common import ResponseFormat
from kaito.web.openai.errors import invalid
from kaito.web.openai.responses import ResponsesRequest

ROLES = ("system", "developer", "user", "assistant")


def chat_request_of(request: ResponsesRequest) -> ChatRequest:
    """Raises ApiError for what needs a server that remembers, and for items that are not known."""
    if request.previous_response_id is not None:
        raise invalid(
            "previous_response_id: responses are not stored here. Send the whole conversation as input.",
            param="previous_response_id",
        )
    if request.background:
        raise invalid("background: answers are not stored here; wait for the answer, or stream it", param="background")
    effort = (request.reasoning or {}).get("effort")
    return ChatRequest(
        model=request.model,
        messages=_messages(request),
        max_completion_tokens=request.max_output_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        min_p=request.min_p,
        seed=request.seed,
        ignore_eos=request.ignore_eos,
        tools=[_tool(index, tool) for index, tool in enumerate(request.tools or [])] or None,
        tool_choice=_tool_choice(request.tool_choice),
        parallel_tool_calls=request.parallel_tool_calls,
        reasoning_effort=effort if isinstance(effort, str) else None,
        response_format=_format(request.text),
    )


def _messages(request: ResponsesRequest) -> list[Message]:
    messages = [Message(role="system", content=request.instructions)] if request.instructions else []
    if isinstance(request.input, str):
        return [*messages, Message(role="user", content=request.input)]
    for index, item in enumerate(request.input):
        message = _message(f"input[{index}]", item)
        if message is None:
            continue
        last = messages[-1] if messages else None
        if message.tool_calls and last is not None and last.tool_calls:
            last.tool_calls += message.tool_calls  # calls that were made together
        else:
            messages.append(message)
    return messages


def _message(where: str, item: dict[str, Any]) -> Message | None:
    match item.get("type", "message"):
        case "message" if item.get("role") in ROLES:
            content = item.get("content")
            if isinstance(content, str | list):
                return Message(role=item["role"], content=_parts(where, content))
            raise invalid(f"{where}.content: expected text or a list of parts", param=f"{where}.content")
        case "message":
            raise invalid(f"{where}.role: {item.get('role')!r}, expected one of {', '.join(ROLES)}", param=where)
        case "function_call":
            function = FunctionCall(name=_text(where, item, "name"), arguments=_text(where, item, "arguments"))
            call = ToolCall(id=_text(where, item, "call_id"), function=function)
            return Message(role="assistant", content=None, tool_calls=[call])
        case "function_call_output":
            output = item.get("output")
            text = output if isinstance(output, str) else msgspec.json.encode(output).decode()
            return Message(role="tool", content=text, tool_call_id=_text(where, item, "call_id"))
        case "reasoning":
            return None  # what the model thought earlier is not shown to it again
        case kind:
            raise invalid(f"{where}: items of type {kind!r} are not known here", param=f"{where}.type")


def _parts(where: str, content: str | list[Any]) -> str | list[dict[str, Any]]:
    if isinstance(content, list) and not all(isinstance(part, dict) for part in content):
        raise invalid(f"{where}.content: expected a list of objects", param=f"{where}.content")
    return content


def _text(where: str, item: dict[str, Any], field: str) -> str:
    if not isinstance(item.get(field), str):
        raise invalid(f"{where}.{field} is missing or is not text", param=f"{where}.{field}")
    return str(item[field])


def _tool(index: int, tool: dict[str, Any]) -> Tool:
    if tool.get("type") != "function":
        raise invalid(
            f"tools[{index}]: type {tool.get('type')!r}: only functions can be called here",
            param=f"tools[{index}].type",
        )
    try:
        return Tool(function=msgspec.convert({key: tool[key] for key in tool if key != "type"}, Function))
    except msgspec.ValidationError as error:
        raise invalid(f"tools[{index}]: {error}", param=f"tools[{index}]") from error


def _tool_choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    if isinstance(choice, dict) and "name" in choice:
        return {"type": "function", "function": {"name": choice["name"]}}
    return choice


def _format(text: dict[str, Any] | None) -> ResponseFormat | None:
    wanted = (text or {}).get("format")
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return None
    if wanted["type"] not in ("json_object", "json_schema"):
        raise invalid(f"text.format.type: {wanted['type']!r}, expected text, json_object or json_schema", param="text")
    schema = {"schema": wanted["schema"]} if "schema" in wanted else {}
    return ResponseFormat(type=wanted["type"], json_schema=schema if wanted["type"] == "json_schema" else None)

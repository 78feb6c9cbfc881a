"""An MCP server over stdio in one file: JSON-RPC 2.0, one message a line, revision 2025-11-25.

Describe each tool with a `Tool`, then call `serve`. A tool is a plain function: it takes the
arguments, which were checked against its input schema, and returns what its output schema
describes. To tell the caller that the input is no good, raise `ToolError`.

    https://modelcontextprotocol.io/specification/2025-11-25
"""

import json
import math
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

PROTOCOL_VERSION = "2025-11-25"
# The tools part of MCP, which is all a server needs here, reads the same in these revisions.
PROTOCOL_VERSIONS = (PROTOCOL_VERSION, "2025-06-18")

# A longer message is refused before it is parsed.
MESSAGE_BYTES_MAX = 8 * 1024 * 1024
# A gateway cuts off what a server writes at some point; saying so beforehand is kinder.
RESULT_LENGTH_MAX = 250_000

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

Schema = dict[str, Any]
Message = dict[str, Any]


class ToolError(Exception):
    """The tool cannot work with this input; the text tells the caller why and what to change."""


class RpcError(Exception):
    """The message breaks the protocol. Becomes a JSON-RPC error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Tool:
    """One tool: what `tools/list` says about it, and the function that does the work."""

    name: str
    title: str
    description: str
    input_schema: Schema
    output_schema: Schema
    run: Callable[[dict[str, Any]], dict[str, Any]]

    def describe(self) -> Message:
        """The tool as an entry of `tools/list`. Every tool here only reads what it is given."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": self.input_schema,
            "outputSchema": self.output_schema,
            "annotations": {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False},
        }


def object_schema(properties: Schema, required: Iterable[str] | None = None) -> Schema:
    """A closed JSON Schema object. All its properties are required unless `required` names fewer."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties if required is None else required),
        "additionalProperties": False,
    }


def serve(
    name: str,
    version: str,
    tools: Iterable[Tool],
    source: BinaryIO = sys.stdin.buffer,
    sink: BinaryIO = sys.stdout.buffer,
) -> None:
    """Answers messages from `source` on `sink`, one at a time, until `source` ends."""
    tools_by_name = {tool.name: tool for tool in tools}
    server_info = {"name": name, "version": version}
    for line in _read_lines(source):
        response = _answer(line, server_info, tools_by_name)
        if response is not None:
            sink.write(_encode(response) + b"\n")
            sink.flush()


def _encode(response: Message) -> bytes:
    text = json.dumps(response, ensure_ascii=False, separators=(",", ":"))
    # UTF-8 has no lone surrogates, but a string of the caller's may: \ud800 is how JSON spells one.
    return text.encode("utf-8", "backslashreplace")


def _read_lines(source: BinaryIO) -> Iterator[bytes | None]:
    """Yields each line that is not blank, and None in place of one that is too long."""
    while line := source.readline(MESSAGE_BYTES_MAX + 1):
        if len(line) > MESSAGE_BYTES_MAX:
            while line and not line.endswith(b"\n"):
                line = source.readline(MESSAGE_BYTES_MAX)
            yield None
        elif line.strip():
            yield line


def _answer(line: bytes | None, server_info: Message, tools: dict[str, Tool]) -> Message | None:
    """The response to one line, or None when it is a notification or a response."""
    request_id = None
    try:
        message = _parse(line)
        request_id = _read_id(message)
        if "method" not in message or request_id is None:
            return None
        result = _dispatch(message["method"], message.get("params", {}), server_info, tools)
        return {"jsonrpc": "2.0", "id": request_id, "result": result}
    except RpcError as error:
        return _error(request_id, error.code, str(error))
    except Exception:
        # A bug of this server. The caller learns that it is one; the trace is for its publisher.
        traceback.print_exc(file=sys.stderr)
        return _error(request_id, INTERNAL_ERROR, "Internal error")


def _error(request_id: int | str | None, code: int, message: str) -> Message:
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}


def _parse(line: bytes | None) -> Message:
    if line is None:
        raise RpcError(PARSE_ERROR, f"A message may have at most {MESSAGE_BYTES_MAX} bytes")
    try:
        message = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RpcError(PARSE_ERROR, "The message is not JSON that can be read") from error
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, "The message is not a JSON-RPC 2.0 object")
    return message


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _read_id(message: Message) -> int | str | None:
    request_id = message.get("id")
    if "id" in message and (isinstance(request_id, bool) or not isinstance(request_id, int | str)):
        raise RpcError(INVALID_REQUEST, "The id must be a string or an integer")
    return request_id


def _dispatch(method: Any, params: Any, server_info: Message, tools: dict[str, Tool]) -> Message:
    if not isinstance(params, dict):
        raise RpcError(INVALID_PARAMS, "params must be an object")
    match method:
        case "initialize":
            asked = params.get("protocolVersion")
            return {
                "protocolVersion": asked if asked in PROTOCOL_VERSIONS else PROTOCOL_VERSION,
                "capabilities": {"tools": {"listChanged": False}},
                "serverInfo": server_info,
            }
        case "ping":
            return {}
        case "tools/list":
            return {"tools": [tool.describe() for tool in tools.values()]}
        case "tools/call":
            return _call(params, tools)
        case _:
            raise RpcError(METHOD_NOT_FOUND, "Method not found")


def _call(params: Message, tools: dict[str, Tool]) -> Message:
    name = params.get("name")
    tool = tools.get(name) if isinstance(name, str) else None
    if tool is None:
        raise RpcError(INVALID_PARAMS, f"Unknown tool: {str(name)[:100]}")
    arguments = params.get("arguments", {})
    try:
        # Bad arguments are a result, not a protocol error, so that a model can read and mend them.
        problem = find_schema_violation(arguments, tool.input_schema, "arguments")
        if problem:
            raise ToolError(problem)
        structured = tool.run(arguments)
        # The text repeats the structured result for clients that read only text.
        text = json.dumps(structured, ensure_ascii=False)
        if len(text) > RESULT_LENGTH_MAX:
            raise ToolError(f"The result has {len(text)} characters, which is too many: send less")
    except ToolError as error:
        return {"content": [{"type": "text", "text": str(error)}], "isError": True}
    return {"content": [{"type": "text", "text": text}], "structuredContent": structured}


def find_schema_violation(value: Any, schema: Schema, path: str) -> str | None:
    """What is wrong with `value`, or None: the part of JSON Schema that the tools here use."""
    expected = schema.get("type")
    if expected is not None and not _TYPE_CHECKS[expected](value):
        return f"{path} must be of type {expected}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{path} must be one of {', '.join(map(repr, schema['enum']))}"
    if isinstance(value, str):
        return _find_length_violation(value, schema, path)
    if expected in ("integer", "number"):
        return _find_range_violation(value, schema, path)
    if isinstance(value, dict):
        return _find_member_violation(value, schema, path)
    return None


def _find_length_violation(value: str, schema: Schema, path: str) -> str | None:
    if len(value) < schema.get("minLength", 0):
        return f"{path} must have at least {schema['minLength']} characters"
    if len(value) > schema.get("maxLength", math.inf):
        return f"{path} may have at most {schema['maxLength']} characters"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return f"{path} must match {schema['pattern']}"
    return None


def _find_range_violation(value: float, schema: Schema, path: str) -> str | None:
    if value < schema.get("minimum", -math.inf):
        return f"{path} must be at least {schema['minimum']}"
    if value > schema.get("maximum", math.inf):
        return f"{path} may be at most {schema['maximum']}"
    return None


def _find_member_violation(value: dict[str, Any], schema: Schema, path: str) -> str | None:
    properties = schema.get("properties", {})
    for name in schema.get("required", []):
        if name not in value:
            return f"{path}.{name} is missing"
    for name, member in value.items():
        if name in properties:
            violation = find_schema_violation(member, properties[name], f"{path}.{name}")
            if violation:
                return violation
        elif schema.get("additionalProperties") is False:
            return f"{path} has no member {name[:100]!r}"
    return None


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_TYPE_CHECKS: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "number": lambda value: _is_integer(value) or isinstance(value, float),
}

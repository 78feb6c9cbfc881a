"""Free JSON tools: find the first mistake in a document, flatten one to paths, sort one's keys."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

# Isolated mode (python -I) leaves a script's own folder out of the search path.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from mcp_stdio import Tool, ToolError, object_schema, serve  # noqa: E402

TEXT_LENGTH_MAX = 500_000
ENTRIES_MAX = 5_000
DEPTH_MAX = 200

TEXT = {"type": "string", "maxLength": TEXT_LENGTH_MAX, "description": "The JSON document, as text."}
COUNT = {"type": "integer", "minimum": 0}
JSON_KINDS = ["object", "array", "string", "number", "boolean", "null"]


class DuplicateKey(ValueError):
    """RFC 8259 leaves the meaning of a repeated key open, so two readers may disagree on it."""


def check_json(arguments: dict[str, Any]) -> dict[str, Any]:
    """Says whether a text is JSON, where its first mistake is, and what it is made of."""
    text = arguments["text"]
    try:
        value = _parse(text)
    except json.JSONDecodeError as error:
        return {"valid": False, "error": error.msg, "line": error.lineno, "column": error.colno}
    except ValueError as error:
        return {"valid": False, "error": str(error)}
    counts: Counter[str] = Counter()
    depth = 0
    for path, node in _walk(value):
        counts[_kind_of(node)] += 1
        depth = max(depth, len(path))
    return {
        "valid": True,
        "kind": _kind_of(value),
        "depth": depth,
        "values": {kind: counts[kind] for kind in JSON_KINDS},
    }


def flatten_json(arguments: dict[str, Any]) -> dict[str, Any]:
    """Lists every leaf of a document with its JSON Pointer (RFC 6901)."""
    value = _parse_or_refuse(arguments["text"])
    leaves = [
        {"pointer": _to_pointer(path), "value": json.dumps(node, ensure_ascii=False)}
        for path, node in _walk(value)
        if not isinstance(node, dict | list) or not node
    ]
    return {
        "entries": leaves[:ENTRIES_MAX],
        "entry_count": len(leaves),
        "truncated": len(leaves) > ENTRIES_MAX,
    }


def format_json(arguments: dict[str, Any]) -> dict[str, Any]:
    """Writes a document anew with sorted keys, indented or on one line."""
    value = _parse_or_refuse(arguments["text"])
    indent = arguments.get("indent", 2)
    text = json.dumps(
        value,
        ensure_ascii=False,
        sort_keys=True,
        indent=indent or None,
        separators=(",", ": " if indent else ":"),
    )
    return {"text": text, "changed": text != arguments["text"]}


def _parse_or_refuse(text: str) -> Any:
    try:
        return _parse(text)
    except ValueError as error:
        raise ToolError(f"The text is not valid JSON: {error}") from error


def _parse(text: str) -> Any:
    """Reads strict JSON: no NaN, no repeated key, no nesting that readers elsewhere choke on."""
    try:
        value = json.loads(text, object_pairs_hook=_to_object, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError(f"the document nests deeper than {DEPTH_MAX} levels") from error
    if any(len(path) > DEPTH_MAX for path, _ in _walk(value)):
        raise ValueError(f"the document nests deeper than {DEPTH_MAX} levels")
    return value


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise DuplicateKey(f"the key {repeated!r} appears twice in one object")
    return members


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON value")


def _walk(root: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every value of a document in reading order, each with the keys that lead to it."""
    pending: list[tuple[tuple[str | int, ...], Any]] = [((), root)]
    while pending:
        path, node = pending.pop()
        yield path, node
        if isinstance(node, dict):
            pending.extend(((*path, key), child) for key, child in reversed(node.items()))
        elif isinstance(node, list):
            pending.extend(((*path, index), node[index]) for index in reversed(range(len(node))))


def _to_pointer(path: tuple[str | int, ...]) -> str:
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in path)


def _kind_of(value: Any) -> str:
    match value:
        case dict():
            return "object"
        case list():
            return "array"
        case str():
            return "string"
        # bool first: in Python a bool is an int.
        case bool():
            return "boolean"
        case None:
            return "null"
        case _:
            return "number"


TOOLS = [
    Tool(
        name="check_json",
        title="Check a JSON document",
        description="Says whether a text is strict JSON, where its first mistake is, and what it is made of.",
        input_schema=object_schema({"text": TEXT}),
        output_schema=object_schema(
            {
                "valid": {"type": "boolean"},
                "error": {"type": "string"},
                "line": {"type": "integer", "minimum": 1},
                "column": {"type": "integer", "minimum": 1},
                "kind": {"type": "string", "enum": JSON_KINDS},
                "depth": COUNT,
                "values": object_schema({kind: COUNT for kind in JSON_KINDS}),
            },
            required=["valid"],
        ),
        run=check_json,
    ),
    Tool(
        name="flatten_json",
        title="Flatten a JSON document",
        description="Lists every leaf of a JSON document with its JSON Pointer (RFC 6901).",
        input_schema=object_schema({"text": TEXT}),
        output_schema=object_schema(
            {
                "entries": {
                    "type": "array",
                    "items": object_schema({"pointer": {"type": "string"}, "value": {"type": "string"}}),
                },
                "entry_count": COUNT,
                "truncated": {"type": "boolean"},
            }
        ),
        run=flatten_json,
    ),
    Tool(
        name="format_json",
        title="Format a JSON document",
        description="Writes a JSON document anew with sorted keys; indent 0 puts it on one line.",
        input_schema=object_schema(
            {"text": TEXT, "indent": {"type": "integer", "minimum": 0, "maximum": 8}}, required=["text"]
        ),
        output_schema=object_schema({"text": {"type": "string"}, "changed": {"type": "boolean"}}),
        run=format_json,
    ),
]

if __name__ == "__main__":
    serve("json-tools", "1.0.0", TOOLS)

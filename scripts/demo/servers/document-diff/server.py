"""Compares two versions of a document by line or by word, and writes patches."""

import math
import os
import re
import sys
import time
from typing import Any

# Isolated mode (python -I) leaves a script's own folder out of the search path.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from mcp_stdio import Tool, ToolError, object_schema, serve  # noqa: E402
from myers import Edit, TooDifferent, find_edits  # noqa: E402

DOCUMENT_LENGTH_MAX = 400_000
# Below the five seconds a call may take, so that the caller gets a reason instead of a timeout.
COMPARE_SECONDS_MAX = 3.0
CHANGES_MAX = 100
EXCERPT_LENGTH_MAX = 200

LINE = re.compile(r"[^\n]*\n|[^\n]+")
WORD = re.compile(r"\S+")


def compare_documents(arguments: dict[str, Any]) -> dict[str, Any]:
    """Says how alike two versions are and lists what was taken out and put in."""
    unit = arguments.get("unit", "word")
    pattern = LINE if unit == "line" else WORD
    before = pattern.findall(arguments["before"])
    after = pattern.findall(arguments["after"])
    edits = _find_edits(before, after)
    deleted = sum(edit.before_end - edit.before_start for edit in edits)
    inserted = sum(edit.after_end - edit.after_start for edit in edits)
    total = len(before) + len(after)
    return {
        "unit": unit,
        "identical": arguments["before"] == arguments["after"],
        # Twice what both share over what both have, as difflib's ratio; two empty documents are alike.
        # Rounded down, so that 1 means that no unit differs.
        "similarity": math.floor((1 - (deleted + inserted) / total) * 10_000) / 10_000 if total else 1.0,
        "before_units": len(before),
        "after_units": len(after),
        "unchanged": len(before) - deleted,
        "deleted": deleted,
        "inserted": inserted,
        "change_count": len(edits),
        "changes": [_describe_change(edit, before, after, unit) for edit in edits[:CHANGES_MAX]],
        "truncated": len(edits) > CHANGES_MAX,
    }


def write_patch(arguments: dict[str, Any]) -> dict[str, Any]:
    """Writes a unified diff that `patch` and `git apply` take."""
    before = LINE.findall(arguments["before"])
    after = LINE.findall(arguments["after"])
    hunks = _group_edits(_find_edits(before, after), arguments.get("context_lines", 3))
    path = arguments.get("path", "document.txt")
    header = [f"--- a/{path}\n", f"+++ b/{path}\n"] if hunks else []
    context = arguments.get("context_lines", 3)
    lines = [line for hunk in hunks for line in _write_hunk(hunk, before, after, context)]
    return {"patch": "".join(header + lines), "hunks": len(hunks)}


def _find_edits(before: list[str], after: list[str]) -> list[Edit]:
    try:
        return find_edits(before, after, deadline=time.monotonic() + COMPARE_SECONDS_MAX)
    except TooDifferent as error:
        raise ToolError(
            f"The documents could not be compared within {COMPARE_SECONDS_MAX:.0f} seconds: they share "
            "much, in too different an order. Compare them section by section."
        ) from error


def _describe_change(edit: Edit, before: list[str], after: list[str], unit: str) -> dict[str, Any]:
    removed = before[edit.before_start : edit.before_end]
    added = after[edit.after_start : edit.after_end]
    kind = "replace" if removed and added else "delete" if removed else "insert"
    glue = "" if unit == "line" else " "
    return {
        "kind": kind,
        # Counted from 1. For an insertion it is the unit before which the new ones stand.
        "before_position": edit.before_start + 1,
        "after_position": edit.after_start + 1,
        "removed_units": len(removed),
        "added_units": len(added),
        "removed": _excerpt(glue.join(removed)),
        "added": _excerpt(glue.join(added)),
    }


def _excerpt(text: str) -> str:
    return text if len(text) <= EXCERPT_LENGTH_MAX else f"{text[:EXCERPT_LENGTH_MAX]}…"


def _group_edits(edits: list[Edit], context: int) -> list[list[Edit]]:
    """Edits whose context lines touch share a hunk."""
    hunks: list[list[Edit]] = []
    for edit in edits:
        if hunks and edit.before_start - hunks[-1][-1].before_end <= 2 * context:
            hunks[-1].append(edit)
        else:
            hunks.append([edit])
    return hunks


def _write_hunk(edits: list[Edit], before: list[str], after: list[str], context: int) -> list[str]:
    first, last = edits[0], edits[-1]
    lead = min(context, first.before_start)
    tail = min(context, len(before) - last.before_end)
    before_range = _write_range(first.before_start - lead, last.before_end + tail)
    after_range = _write_range(first.after_start - lead, last.after_end + tail)
    lines = [f"@@ -{before_range} +{after_range} @@\n"]
    position = first.before_start - lead
    for edit in edits:
        lines += [_write_line(" ", line) for line in before[position : edit.before_start]]
        lines += [_write_line("-", line) for line in before[edit.before_start : edit.before_end]]
        lines += [_write_line("+", line) for line in after[edit.after_start : edit.after_end]]
        position = edit.before_end
    lines += [_write_line(" ", line) for line in before[position : position + tail]]
    return lines


def _write_range(start: int, end: int) -> str:
    # An empty range names the line before it (POSIX diff -u).
    return f"{start + 1 if end > start else start},{end - start}"


def _write_line(mark: str, line: str) -> str:
    ending = "" if line.endswith("\n") else "\n\\ No newline at end of file\n"
    return f"{mark}{line}{ending}"


COUNT = {"type": "integer", "minimum": 0}
STRING = {"type": "string"}
DOCUMENTS = {
    "before": {"type": "string", "maxLength": DOCUMENT_LENGTH_MAX, "description": "The older version."},
    "after": {"type": "string", "maxLength": DOCUMENT_LENGTH_MAX, "description": "The newer version."},
}
UNIT = {"type": "string", "enum": ["line", "word"]}

TOOLS = [
    Tool(
        name="compare_documents",
        title="Compare two documents",
        description=(
            "How alike two versions of a document are, by word or by line, with the passages that were "
            "taken out and put in. Comparing by word ignores how lines are wrapped."
        ),
        input_schema=object_schema({**DOCUMENTS, "unit": {**UNIT, "default": "word"}}, required=DOCUMENTS),
        output_schema=object_schema(
            {
                "unit": UNIT,
                "identical": {"type": "boolean"},
                "similarity": {"type": "number", "minimum": 0, "maximum": 1},
                "before_units": COUNT,
                "after_units": COUNT,
                "unchanged": COUNT,
                "deleted": COUNT,
                "inserted": COUNT,
                "change_count": COUNT,
                "changes": {
                    "type": "array",
                    "items": object_schema(
                        {
                            "kind": {"type": "string", "enum": ["insert", "delete", "replace"]},
                            "before_position": COUNT,
                            "after_position": COUNT,
                            "removed_units": COUNT,
                            "added_units": COUNT,
                            "removed": STRING,
                            "added": STRING,
                        }
                    ),
                },
                "truncated": {"type": "boolean"},
            }
        ),
        run=compare_documents,
    ),
    Tool(
        name="write_patch",
        title="Write a patch",
        description="A unified diff from one version of a document to the next, for patch and git apply.",
        input_schema=object_schema(
            {
                **DOCUMENTS,
                "context_lines": {"type": "integer", "minimum": 0, "maximum": 20, "default": 3},
                "path": {
                    "type": "string",
                    "pattern": r"^[A-Za-z0-9._/-]{1,200}$",
                    "default": "document.txt",
                    "description": "What the patch calls the document.",
                },
            },
            required=DOCUMENTS,
        ),
        output_schema=object_schema({"patch": STRING, "hunks": COUNT}),
        run=write_patch,
    ),
]

if __name__ == "__main__":
    serve("document-diff", "1.0.0", TOOLS)

"""Profiles a CSV table: for each column its type, missing and distinct values, spread and outliers."""

import csv
import io
import math
import os
import re
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

# Isolated mode (python -I) leaves a script's own folder out of the search path.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from mcp_stdio import Tool, ToolError, object_schema, serve  # noqa: E402

CSV_LENGTH_MAX = 900_000
COLUMNS_MAX = 200
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
MISSING = frozenset({"", "na", "n/a", "null", "none", "nan", "?"})
TRUE_OR_FALSE = frozenset({"true", "false", "yes", "no"})
# A leading zero marks an identifier, such as a postal code, not a number to do sums with.
INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,14})", re.ASCII)
NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,14})?(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
DATETIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}.{0,20}", re.ASCII)
TOP_VALUES = 5
EXAMPLES = 5
VALUE_LENGTH_SHOWN = 80


@dataclass(frozen=True)
class Table:
    """A CSV file as read: every row has one value a column; `lines` are where rows end in the file."""

    delimiter: str
    header: list[str]
    rows: list[list[str]]
    lines: list[int]


@dataclass(frozen=True)
class Cell:
    """One present value and the line of the file it stands in."""

    line: int
    text: str


def profile_csv(arguments: dict[str, Any]) -> dict[str, Any]:
    """Reads the table strictly and describes each column."""
    table = _read_table(arguments["csv"], arguments.get("delimiter"))
    row_counts = Counter(map(tuple, table.rows))
    return {
        "delimiter": table.delimiter,
        "rows": len(table.rows),
        "duplicate_rows": len(table.rows) - len(row_counts),
        "columns": [_profile_column(table, index) for index in range(len(table.header))],
    }


def _read_table(text: str, delimiter: str | None) -> Table:
    # The byte order mark that spreadsheets write would become part of the first column's name.
    text = text.removeprefix("\ufeff")
    if "\0" in text or "\ufffd" in text:
        raise ToolError("The table was not decoded as text: send it as UTF-8.")
    delimiter = delimiter or _guess_delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=DELIMITERS[delimiter], strict=True)
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if not row:
                continue
            if not header:
                header = _check_header(row)
                continue
            if len(row) != len(header):
                raise ToolError(_describe_ragged_row(reader.line_num, row, header, delimiter))
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise ToolError(f"Line {reader.line_num} is not CSV: {error}.") from error
    if not rows:
        raise ToolError("The table is empty: it needs a header and at least one row.")
    return Table(delimiter, header, rows, lines)


def _guess_delimiter(text: str) -> str:
    """The delimiter that splits the header into the most columns."""
    header = next((line for line in io.StringIO(text) if line.strip()), "")
    return max(DELIMITERS, key=lambda name: header.count(DELIMITERS[name]))


def _check_header(row: list[str]) -> list[str]:
    names = [name.strip() for name in row]
    if len(names) > COLUMNS_MAX:
        raise ToolError(f"The table has {len(names)} columns; at most {COLUMNS_MAX} are profiled.")
    for position, name in enumerate(names, start=1):
        if not name:
            raise ToolError(f"Column {position} has no name in the header.")
        if names.index(name) < position - 1:
            raise ToolError(f"The header names the column {_shorten(name)!r} twice.")
    return names


def _describe_ragged_row(line: int, row: list[str], header: list[str], delimiter: str) -> str:
    hint = f"; quote a value that contains a {delimiter}" if len(row) > len(header) else ""
    return f"Line {line} has {len(row)} values where the header has {len(header)} columns{hint}."


def _profile_column(table: Table, index: int) -> dict[str, Any]:
    cells = [
        Cell(line, text)
        for line, row in zip(table.lines, table.rows, strict=True)
        if (text := row[index].strip()).lower() not in MISSING
    ]
    values = Counter(cell.text for cell in cells)
    kind = _infer_type(values)
    profile: dict[str, Any] = {
        "name": table.header[index],
        "type": kind,
        "missing": len(table.rows) - len(cells),
        "distinct": len(values),
    }
    match kind:
        case "integer" | "number":
            profile["numbers"] = _profile_numbers(cells)
        case "date" | "datetime":
            profile["times"] = _profile_times(values)
        case "boolean" | "text":
            profile["top_values"] = _find_top_values(values)
    return profile


def _infer_type(values: Counter[str]) -> str:
    """The narrowest type that every present value fits."""
    if not values:
        return "empty"
    return next((name for name, fits in TYPES if all(map(fits, values))), "text")


def _is_number(text: str) -> bool:
    return bool(NUMBER.fullmatch(text)) and any(map(str.isdigit, re.split("[eE]", text)[0]))


def _is_date(text: str) -> bool:
    if not DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_datetime(text: str) -> bool:
    if not DATETIME.fullmatch(text):
        return False
    try:
        # Times with and without a zone cannot be ordered, so a column needs one or the other.
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False


def _is_zoned_datetime(text: str) -> bool:
    if not DATETIME.fullmatch(text):
        return False
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


TYPES: Sequence[tuple[str, Callable[[str], bool]]] = (
    ("boolean", lambda text: text.lower() in TRUE_OR_FALSE),
    ("integer", lambda text: bool(INTEGER.fullmatch(text))),
    ("number", _is_number),
    ("date", _is_date),
    ("datetime", _is_datetime),
    ("datetime", _is_zoned_datetime),
)


def _profile_numbers(cells: list[Cell]) -> dict[str, Any]:
    numbers = [float(cell.text) for cell in cells]
    mean = math.fsum(numbers) / len(numbers)
    median = statistics.median(numbers)
    q1, q3 = _find_quartiles(numbers)
    # Tukey's fences: further out than 1.5 times the middle half is an outlier.
    low_fence, high_fence = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    outliers = [
        {"line": cell.line, "value": number}
        for cell, number in zip(cells, numbers, strict=True)
        if not low_fence <= number <= high_fence
    ]
    # The furthest out first.
    outliers.sort(key=lambda outlier: -abs(outlier["value"] - median))
    squares = math.fsum((number - mean) ** 2 for number in numbers)
    return {
        "min": min(numbers),
        "max": max(numbers),
        "mean": _round(mean),
        "std_dev": _round(math.sqrt(squares / max(len(numbers) - 1, 1))),
        "q1": _round(q1),
        "median": _round(median),
        "q3": _round(q3),
        "outliers": len(outliers),
        "outlier_examples": outliers[:EXAMPLES],
    }


def _find_quartiles(numbers: list[float]) -> tuple[float, float]:
    if len(numbers) == 1:
        return numbers[0], numbers[0]
    q1, _, q3 = statistics.quantiles(numbers, n=4, method="inclusive")
    return q1, q3


def _round(number: float) -> float:
    """Twelve significant digits: enough for any table, and free of binary dust such as 0.30000000000000004."""
    return float(f"{number:.12g}")


def _profile_times(values: Counter[str]) -> dict[str, str]:
    return {
        "earliest": min(values, key=datetime.fromisoformat),
        "latest": max(values, key=datetime.fromisoformat),
    }


def _find_top_values(values: Counter[str]) -> list[dict[str, Any]]:
    # By count, then by value: the same table gets the same answer whatever the order of its rows.
    ranked = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    return [{"value": _shorten(value), "count": count} for value, count in ranked[:TOP_VALUES]]


def _shorten(value: str) -> str:
    return value if len(value) <= VALUE_LENGTH_SHOWN else f"{value[:VALUE_LENGTH_SHOWN]}…"


COUNT = {"type": "integer", "minimum": 0}
FLOAT = {"type": "number"}
STRING = {"type": "string"}
DELIMITER = {"type": "string", "enum": list(DELIMITERS)}

NUMBERS = object_schema(
    {
        **{name: FLOAT for name in ("min", "max", "mean", "std_dev", "q1", "median", "q3")},
        "outliers": COUNT,
        "outlier_examples": {"type": "array", "items": object_schema({"line": COUNT, "value": FLOAT})},
    }
)
COLUMN = object_schema(
    {
        "name": STRING,
        "type": {
            "type": "string",
            "enum": ["boolean", "integer", "number", "date", "datetime", "text", "empty"],
        },
        "missing": COUNT,
        "distinct": COUNT,
        "numbers": NUMBERS,
        "times": object_schema({"earliest": STRING, "latest": STRING}),
        "top_values": {"type": "array", "items": object_schema({"value": STRING, "count": COUNT})},
    },
    required=["name", "type", "missing", "distinct"],
)

TOOLS = [
    Tool(
        name="profile_csv",
        title="Profile a CSV table",
        description=(
            "For each column of a CSV table: type, missing and distinct values, and quartiles, mean and "
            "outliers of numbers. Refuses rows that do not have the header's number of values."
        ),
        input_schema=object_schema(
            {
                "csv": {
                    "type": "string",
                    "maxLength": CSV_LENGTH_MAX,
                    "description": "The table as text, its first row naming the columns.",
                },
                "delimiter": {**DELIMITER, "description": "Guessed from the header when left out."},
            },
            required=["csv"],
        ),
        output_schema=object_schema(
            {
                "delimiter": DELIMITER,
                "rows": COUNT,
                "duplicate_rows": COUNT,
                "columns": {"type": "array", "items": COLUMN},
            }
        ),
        run=profile_csv,
    ),
]

if __name__ == "__main__":
    serve("csv-profile", "1.0.0", TOOLS)

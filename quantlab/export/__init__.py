"""Comparisons and quality runs as JSON, CSV and Markdown, and back from JSON. The schema: docs/export.md."""

import json
from typing import Any

from quantlab.errors import BadInput
from quantlab.export import common, consistency
from quantlab.export.comparisons import comparison_data, comparison_from, run_data, run_from
from quantlab.export.qualities import quality_data, quality_from, quality_run_data, quality_run_from
from quantlab.export.tables import to_csv, to_markdown
from quantlab.records import Comparison, Quality

__all__ = [
    "LONGEST",
    "comparison_data",
    "comparison_from",
    "quality_data",
    "quality_from",
    "quality_run_data",
    "quality_run_from",
    "read_json",
    "record_data",
    "record_from",
    "run_data",
    "run_from",
    "to_csv",
    "to_json",
    "to_markdown",
]

#: The longest file that is read, in bytes: one with a thousand runs has some ten million.
LONGEST = 100 * 10**6


def record_data(record: Comparison | Quality) -> dict[str, Any]:
    """A comparison or a quality run as plain data, told apart by its field `schema`."""
    return comparison_data(record) if isinstance(record, Comparison) else quality_data(record)


def record_from(data: Any) -> Comparison | Quality:
    """What `record_data` wrote. Raises BadInput naming the field that is not as it must be."""
    return comparison_from(data) if common.kind_of(data) == "comparison" else quality_from(data)


def to_json(record: Comparison | Quality) -> str:
    """JSON in ASCII, without NaN and Infinity, so that every reader takes it."""
    return json.dumps(record_data(record), allow_nan=False, indent=1)


def read_json(content: str | bytes) -> Comparison | Quality:
    """The record of an exported file. Raises BadInput, and nothing else, for anything that is not one."""
    if len(content) > LONGEST:
        raise BadInput(f"The file is longer than {LONGEST // 10**6} MB.", "An export of quantlab is much smaller.")
    try:
        data = json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"This file is no JSON ({error}).", "Choose a file that was written by an export to JSON, as a whole."
        ) from None
    record = record_from(data)
    consistency.check(record)
    return record


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")

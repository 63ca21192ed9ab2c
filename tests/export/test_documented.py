"""docs/export.md against the files that are written, and old files against today's reader."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from quantlab.export import codec, comparison_data, quality_data, read_json, record_from, to_json
from quantlab.records import Comparison, Quality
from tests.examples import example_comparison
from tests.export.drawing import example_quality

HERE = Path(__file__).resolve().parent
DOCUMENT = (HERE.parent.parent / "docs" / "export.md").read_text("utf-8")
EXAMPLES = {"comparison": example_comparison(count=3), "quality": example_quality(("fp32", "nf4"))}
#: Below these the keys are names of parts, packages, devices or tasks.
FREE = {"parts", "device_map", "details", "versions", "tasks"}


def keys(data: Any) -> set[str]:
    match data:
        case dict():
            inner = {name: keys(value) for name, value in data.items()}
            free = {key for name in FREE & set(data) if isinstance(data[name], dict) for key in data[name]}
            return {*data, *(key for found in inner.values() for key in found)} - free
        case list():
            return {key for item in data for key in keys(item)}
    return set()


@pytest.mark.parametrize("data", (comparison_data(EXAMPLES["comparison"]), quality_data(EXAMPLES["quality"])))
def test_every_field_is_described(data):
    described = set(re.findall(r"`(?:\w+\.)*(\w+)`", DOCUMENT))
    assert keys(data) - described == set()


def test_what_the_document_describes_is_written():
    written = keys([comparison_data(EXAMPLES["comparison"]), quality_data(EXAMPLES["quality"])])
    first_columns = re.findall(r"^\| (`.*?) \|", DOCUMENT, re.MULTILINE)
    described = {name.rpartition(".")[2] for column in first_columns for name in re.findall(r"`([\w.]+)`", column)}
    assert described - written == set()


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_file_of_the_first_version_is_still_read(kind: str):
    """If this fails, old files can no longer be opened: name a new field of a record in `codec.LATER`."""
    record = read_json((HERE / f"{kind}-1.json").read_bytes())
    assert isinstance(record, Comparison if kind == "comparison" else Quality)
    assert [run.precision for run in record.runs] == [run.precision for run in EXAMPLES[kind].runs]
    assert read_json(to_json(record)) == record


def test_a_field_that_came_later_takes_its_default(monkeypatch):
    data = json.loads(to_json(EXAMPLES["comparison"]))
    for run in data["runs"]:
        del run["stopped"]
    monkeypatch.setattr(codec, "LATER", frozenset({"Run.stopped"}))
    assert not any(run.stopped for run in record_from(data).runs)

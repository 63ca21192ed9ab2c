"""docs/scale.md: its example is read, its tables name what there is, and its totals follow from its unit costs."""

import re
from pathlib import Path

import pytest

from quantlab.runs.sweep import asked
from quantlab.runs.sweep.exported import COLUMNS
from tests.runs.cluster.costs import totals

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "scale.md").read_text("utf-8")


def figures(heading: str) -> dict[str, float]:
    """The table whose first line has this heading: names and numbers."""
    block = DOCUMENT.partition(f"| {heading} |")[2].partition("\n\n")[0]
    return {name: float(value) for name, value in re.findall(r"^\| (.+?) \| ([\d.e+-]+) \|$", block, re.M)}


def test_the_example_is_a_sweep(tmp_path):
    (example,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.S)
    file = tmp_path / "mine.yaml"
    file.write_text(example)
    found = asked.read(file)
    assert len(found.models) == 2 and found.reference == "fp32" and found.prompts


def test_every_field_and_column_is_described():
    block = DOCUMENT.partition("| field | holds |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", block)) >= set(asked._File.model_fields)
    cells = DOCUMENT.partition("### The cells")[2].partition("## A cluster")[0]
    assert [name for name in COLUMNS if f"`{name}`" not in cells] == []


def test_the_totals_follow_from_the_unit_costs():
    units, case, total = figures("unit cost"), figures("of the case"), figures("cost")
    computed = totals(units, case)
    assert total.keys() == computed.keys() and len(units) == 7
    for name, value in total.items():
        assert value == pytest.approx(computed[name], rel=5e-3), name

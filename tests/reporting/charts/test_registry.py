"""The one list of charts: whole, drawable, and light until something is drawn."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from quantlab.reporting.charts import registry
from quantlab.reporting.charts.registry import COMPARISON, QUALITY, charts_of
from quantlab.reporting.html.sections import sections
from tests.examples import example_comparison
from tests.export.drawing import example_quality

RECORDS = {"comparison": example_comparison(), "quality": example_quality()}
#: Charts of other records than these two, and what is no chart.
ELSEWHERE = {"sweep_front", "planned", "inside", "outliers", "abilities"}
CASES = [
    (chart, RECORDS[kind]) for kind, every in (("comparison", COMPARISON), ("quality", QUALITY)) for chart in every
]
IDS = [chart.key for chart, _ in CASES]


@pytest.mark.parametrize(("chart", "record"), CASES, ids=IDS)
def test_each_chart_is_drawn_with_its_twin_on_the_page_and_in_the_report(chart, record):
    assert chart in charts_of(record) and chart.has(record)
    options = chart.options(record)
    figures, tables = chart.drawn(record, options[-1] if options else "")
    assert len(figures) == len(chart.parts) and all(figure.data for figure in figures)
    assert tables and all(table.rows for table in tables)
    told = [it for it in sections(record) if it.title.startswith(chart.title)]
    assert sum(it.figure is not None for it in told) >= len(figures)
    held = [it.table for it in told if it.table]
    assert all(table in held for table in tables), "the report has the tables of the page"


def test_no_key_stands_twice():
    keys = [chart.key for chart in (*COMPARISON, *QUALITY)]
    assert len(set(keys)) == len(keys)


def test_every_module_that_draws_one_of_the_two_records_is_listed():
    listed = {it.module for chart in (*COMPARISON, *QUALITY) for it in chart.drawings}
    drawing = set()
    for file in Path(registry.__file__).parent.glob("*.py"):
        if any(isinstance(it, ast.FunctionDef) and it.name == "figure" for it in ast.parse(file.read_text()).body):
            drawing.add(file.stem)
    assert drawing - ELSEWHERE == listed


def test_what_fails_to_draw_takes_nothing_with_it(monkeypatch, caplog):
    def broken(*_):
        raise ValueError("broken")

    monkeypatch.setattr(registry, "_call", broken)
    assert COMPARISON[3].drawn(RECORDS["comparison"]) == ((None, None), None)
    assert "the chart tokens failed" in caplog.text


def test_the_list_brings_no_plotly():
    code = "import quantlab.reporting.charts.registry, sys; sys.exit('plotly' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

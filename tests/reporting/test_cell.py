"""A record in the cell of a notebook: all its figures, nothing that runs or loads, nothing of a text becomes markup."""

import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import quantlab
from quantlab.records import Comparison, Quality
from quantlab.reporting.charts import difference_table, kld_spread, latency, memory, quality_map
from quantlab.reporting.html.cell import cell
from tests.examples import DEFAULT, example_comparison
from tests.export.drawing import example_quality
from tests.reporting.test_html import HOSTILE, MARK, RECORDS, Page, hostile

ROOT = Path(__file__).resolve().parents[2]


def bars(html: str, title: str) -> dict[str, float]:
    """Name and width in percent of each bar of a chart."""
    (chart,) = (it for it in html.split("<figure>") if it.startswith(f"<figcaption>{title}"))
    found = re.findall(r'</span> (\S+)</span>\s*<span class="bar"[^>]*><span style="width: ([\d.]+)%', chart)
    return {name: float(width) for name, width in found}


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_a_record_shows_itself_and_loads_nothing(record: Comparison | Quality):
    page = Page(record._repr_html_())
    assert not [(tag, it) for tag, it in page.elements if {"src", "srcset", "data", "action", "href"} & set(it)]
    assert not [tag for tag, _ in page.elements if tag in ("script", "link", "iframe", "base", "object", "form", "img")]
    assert not [it for _, it in page.elements if any(name.startswith("on") for name in it)]
    assert "url(" not in page.scripts[0] and "@import" not in page.scripts[0]


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_nothing_of_a_text_becomes_markup(record: Comparison | Quality):
    plain, page = Page(cell(record)), Page(cell(hostile(record)))
    assert MARK in page.text and not [script for script in page.scripts if MARK in script]
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements}
    assert len(page.scripts) == 1 and "<img src=x" in page.text and HOSTILE[:9] in page.text


def test_a_comparison_has_its_answers_and_tables():
    comparison = example_comparison()
    page = Page(cell(comparison))
    assert comparison.prompt in page.text and "Comparison of demo" in page.text
    for run in comparison.runs:
        assert run.precision in page.text and (run.error or run.text[:20]) in page.text
    for table in (memory.table(comparison), latency.table(comparison), difference_table.table(comparison)):
        assert all(text in page.text for row in table.rows for text in row)
    assert [tag for tag, _ in page.elements].count("mark") == sum(bool(it.first_divergence) for it in comparison.runs)


def test_the_bars_are_the_figures():
    html = cell(example_comparison(errors={}, stopped=None))
    runs = {run.precision: run for run in example_comparison(errors={}, stopped=None).runs}
    drawn = bars(html, "Memory")
    assert list(drawn) == list(DEFAULT) and drawn["fp32"] == 100
    for name, width in drawn.items():
        assert width == pytest.approx(100 * runs[name].load.stored_bytes / runs["fp32"].load.stored_bytes, abs=0.06)
    fastest = max(run.decode_tokens_per_s for run in runs.values())
    for name, width in bars(html, "Decode speed").items():
        assert width == pytest.approx(100 * runs[name].decode_tokens_per_s / fastest, abs=0.06)
    assert "fp32" not in bars(html, "Distance from fp32")


def test_quality_has_its_figures_and_advice():
    quality = example_quality(failed="int8")
    page = Page(cell(quality))
    for table in (quality_map.table(quality), kld_spread.table(quality)):
        assert all(text in page.text for row in table.rows for text in row)
    assert set(bars(cell(quality), "Distance from fp32")) == {
        run.precision for run in quality.runs if run.fidelity and run.precision != quality.reference and not run.error
    }


def test_nothing_measured_draws_nothing():
    failed = example_comparison(("fp32", "nf4"), {"fp32": ("No room.", ""), "nf4": ("No room.", "")})
    page = Page(cell(failed))
    assert "figure" not in [tag for tag, _ in page.elements] and page.text.count("No room.") >= 2


def test_the_last_event_shows_what_it_holds():
    comparison, quality = RECORDS.values()
    assert quantlab.Done(comparison)._repr_html_() == comparison._repr_html_()
    assert quantlab.QualityDone(quality)._repr_html_() == quality._repr_html_()


def test_a_record_that_was_pickled_still_shows_itself():
    record = example_comparison()
    assert pickle.loads(pickle.dumps(record))._repr_html_() == record._repr_html_()
    assert replace(record, prompt="other") != record


def test_importing_quantlab_makes_nothing_of_it():
    code = "import sys, quantlab; print('quantlab.records' in sys.modules, 'plotly' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"] and quantlab.shown.Shown


@pytest.mark.parametrize(("ink", "ground"), [("#212121", "#ffffff"), ("#e0e0e0", "#111111")], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1_000, 400])
def test_a_cell_can_be_read_by_everybody(browser, ink, ground, width):
    """Two cells below each other, on the ground of a notebook in either theme."""
    from axe_playwright_python.sync_playwright import Axe

    cells = "<hr>".join(cell(record).replace("<details>", "<details open>") for record in RECORDS.values())
    head = "<!doctype html><html lang='en'><title>notebook</title><meta name='viewport' content='width=device-width'>"
    page = browser.new_page(viewport={"width": width, "height": 800})
    try:
        page.set_content(f"{head}<body style='color: {ink}; background: {ground}'><main><h1>n</h1>{cells}</main>")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert Axe().run(page).response["violations"] == []
    finally:
        page.close()

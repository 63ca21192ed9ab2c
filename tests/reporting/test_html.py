"""The HTML report: whole without network, with every chart and its table, and nothing of a prompt becomes markup."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from quantlab.records import Candidate, Comparison, Divergence, Model, Quality
from quantlab.reporting.charts import difference_table, flips, kld_spread, latency, memory, quality_map
from quantlab.reporting.charts.table import Table
from quantlab.reporting.html import html
from quantlab.reporting.html.sections import sections
from tests.examples import example_comparison
from tests.export.drawing import example_quality

HOSTILE = '</script><script>window.broken = true</script><img src=x onerror="window.broken=1">&lt;b&gt; \ud800\0'
MARK = "window.broken"


class Page(HTMLParser):
    """The elements with their attributes, the text outside scripts, and what each script holds."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            self.scripts[-1] += data
        else:
            self.text += data


def hostile(record: Comparison | Quality) -> Comparison | Quality:
    runs = []
    for run in record.runs:
        if run.error:
            run = replace(run, error=HOSTILE, advice=HOSTILE)
        elif isinstance(record, Comparison):
            parted = Divergence(0, (Candidate(1, HOSTILE, 0.5),), (Candidate(2, HOSTILE, 0.25), Candidate(3, "x", 0.1)))
            differences = tuple(replace(it, token=HOSTILE) for it in run.differences[:3])
            tokens = (HOSTILE, *run.tokens[1:])
            run = replace(run, tokens=tokens, text="".join(tokens), first_divergence=parted, differences=differences)
        else:
            run = replace(run, notes=(HOSTILE,), layers=tuple(replace(it, module=HOSTILE) for it in run.layers[:1]))
        load = run.load and replace(run.load, notes=(HOSTILE,), kernel=HOSTILE)
        runs.append(replace(run, precision=f"{run.precision} {HOSTILE}", load=load))
    versions, machine = {HOSTILE: HOSTILE}, replace(record.machine, cpu=HOSTILE, device=HOSTILE, system=HOSTILE)
    model = replace(record.model, name=HOSTILE, revision=HOSTILE)
    record = replace(
        record, runs=tuple(runs), versions=versions, machine=machine, model=model, reference=runs[0].precision
    )
    if isinstance(record, Comparison):
        return replace(record, prompt=HOSTILE)
    return replace(record, text=replace(record.text, name=HOSTILE), floor=HOSTILE)


RECORDS = {"comparison": example_comparison(), "quality": example_quality(failed="int8")}


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_it_asks_for_nothing_from_outside(record):
    page = Page(html(record))
    assert not [(tag, it) for tag, it in page.elements if {"src", "srcset", "data", "action"} & set(it)]
    assert not [it for tag, it in page.elements if tag in ("link", "iframe", "base", "object", "embed", "form")]
    policy = next(it["content"] for _, it in page.elements if it.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'") and "http" not in policy
    assert sum("plotly.js v" in script for script in page.scripts) == 1


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_every_chart_and_table_is_in_it(record):
    page = Page(html(record, advice=("nf4 is near.",)))
    shown = sections(record)
    charts = [json.loads(text) for text in page.scripts if text.startswith('{"data"')]
    assert len(charts) == len([it for it in shown if it.figure]) > 3
    assert all(chart["data"] or chart["layout"]["annotations"] for chart in charts)
    for section in shown:
        assert section.title in page.text
        for cell in [cell for row in section.table.rows for cell in row] if section.table else []:
            assert cell in page.text
    assert "Example CPU" in page.text and "torch 2.13.0" in page.text and "nf4 is near." in page.text
    assert "mean negative log-likelihood" in page.text, "the definitions are there"


def test_the_tables_are_the_charts_twins():
    def of(record) -> list[Table]:
        return [it.table for it in sections(record) if it.table]

    comparison, quality = RECORDS.values()
    expected = [memory.table(comparison), latency.table(comparison), difference_table.table(comparison)]
    assert of(comparison)[:3] == expected
    assert [it.title for it in sections(comparison)][-2:] == ["Token by token: nf4", "Token by token: fp4"]
    assert {it.caption for it in map(lambda twin: twin.table(quality), (quality_map, kld_spread, flips))} <= {
        table.caption for table in of(quality)
    }
    titles = [it.title for it in sections(quality)]
    assert "Answers that changed: demo_facts" in titles and "Answers that changed" in titles
    assert "Where the error arises: nf4" in titles and "Where the error arises: fp32" not in titles
    memory_section = sections(comparison)[0]
    assert memory_section.numeric[1] and not memory_section.numeric[0] and not memory_section.numeric[-1]


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_nothing_of_the_record_becomes_markup(record):
    source = html(hostile(record), advice=(HOSTILE,))
    plain, page = Page(html(record, advice=("x",))), Page(source)
    assert not [it for tag, it in page.elements if tag == "img"]
    assert len(page.scripts) == len(plain.scripts)
    assert not [script for script in page.scripts if MARK in script and not script.startswith('{"data"')]
    assert HOSTILE.replace("\ud800", "\ufffd").replace("\0", "") in page.text.replace("\0", "")
    assert not re.search(r"<script>window\.broken|<img", source.split("plotly.js v")[0])
    source.encode("utf-8")


def test_no_place_on_this_disk_is_told():
    folder = Path("/home/ada/secret/tiny")
    source = html(replace(RECORDS["comparison"], model=Model(str(folder), "folder", folder)))
    assert "/home/ada" not in source and "Comparison of tiny" in source


def test_the_answer_is_marked_from_where_it_parts():
    comparison = RECORDS["comparison"]
    page = html(comparison)
    run = comparison.run("nf4")
    index = run.first_divergence.index
    marked = re.findall(r"<mark>(.*?)</mark>", page, re.DOTALL)
    assert Page("".join(marked[:1])).text == "".join(run.tokens[index:])
    assert len(marked) == len([it for it in comparison.runs if it.first_divergence])


@pytest.mark.parametrize("record", (replace(RECORDS["comparison"], runs=()), replace(RECORDS["quality"], runs=())))
def test_an_interrupted_record_without_a_run_has_a_report(record):
    assert "Example CPU" in html(record)


@pytest.mark.parametrize("name", RECORDS)
def test_a_browser_without_network_draws_every_chart(browser, tmp_path, name):
    record = hostile(RECORDS[name])
    file = tmp_path / "report.html"
    file.write_text(html(record, advice=(HOSTILE,)), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    asked, faults = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    try:
        page.goto(file.as_uri())
        page.wait_for_function("() => [...document.querySelectorAll('.chart')].every((it) => it._fullData)")
        types = page.evaluate(
            "() => [...document.querySelectorAll('.chart')].map((it) =>"
            " it._fullData.map((trace, i) => [trace.type, it.data[trace.index].type || 'scatter']))"
        )
        assert len(types) == len([it for it in sections(record) if it.figure])
        assert all(drawn == meant for chart in types for drawn, meant in chart) and any(types)
        assert page.evaluate("window.broken") is None
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == [] and faults == []
    finally:
        page.close()


WIDE = "[...document.querySelectorAll('.wide')].filter((it) => it.scrollWidth > it.clientWidth + 1)"
FLAT = "document.documentElement.scrollWidth <= innerWidth"


@pytest.mark.parametrize("name", RECORDS)
def test_a_wide_table_scrolls_on_a_phone_and_wraps_on_paper(browser, tmp_path, name):
    file = tmp_path / "report.html"
    file.write_text(html(RECORDS[name]), encoding="utf-8")
    page = browser.new_page(viewport={"width": 400, "height": 800})
    try:
        page.goto(file.as_uri())
        page.wait_for_function("() => [...document.querySelectorAll('.chart')].every((it) => it._fullData)")
        page.evaluate("document.querySelectorAll('details').forEach((it) => { it.open = true; })")
        assert page.evaluate(FLAT)
        assert page.evaluate(f"{WIDE}.length") >= 2
        assert page.evaluate(f"{WIDE}.every((it) => {{ it.scrollLeft = 1; return it.scrollLeft === 1; }})")
        page.set_viewport_size({"width": 718, "height": 1_000})  # A4 with margins, at 96 pixels an inch
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.wait_for_function(
            "() => [...document.querySelectorAll('.chart .main-svg')].every((it) => it.clientWidth <= 660)"
        )
        assert page.evaluate(FLAT) and page.evaluate(f"{WIDE}.length") == 0
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        page.emulate_media(media="screen")
        page.set_viewport_size({"width": 1_000, "height": 1_000})
        page.wait_for_function(
            "() => [...document.querySelectorAll('.chart .main-svg')].every((it) => it.clientWidth > 700)"
        )
    finally:
        page.close()


def test_a_table_without_a_row_is_left_out():
    quality = RECORDS["quality"]
    asked = [it.title for it in sections(quality)]
    none = replace(quality.settings, tasks=())
    bare = replace(quality, settings=none, runs=tuple(replace(run, tasks={}) for run in quality.runs))
    shown = [it.title for it in sections(bare)]
    title = "Answers that changed"
    assert title in asked and title not in shown and set(shown) < set(asked)
    assert "No task was asked for." not in html(bare) and "<dt>Tasks</dt><dd>none</dd>" in html(bare)


@pytest.mark.parametrize("limit", [48, 49])
def test_an_answer_that_was_cut_says_where_and_code_has_letters_of_one_width(limit):
    record = example_comparison(errors={}, stopped=None)
    settings = replace(record.settings, max_new_tokens=limit)
    runs = (replace(record.runs[0], text="```\n1\n```", tokens=("```\n1\n```",) * 48), *record.runs[1:])
    page = html(replace(record, runs=runs, settings=settings), None)
    assert page.count("Stopped at 48 tokens.") == (len(runs) if limit == 48 else 0)
    assert page.count('<pre class="code">') == 1

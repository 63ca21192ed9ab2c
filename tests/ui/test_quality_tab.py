"""The quality tab: its handlers on fake services, and the tab in a real Chromium."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from playwright.sync_api import expect

from quantlab.fidelity import tasks
from quantlab.reporting.charts.registry import QUALITY
from quantlab.settings import AppSettings
from quantlab.ui.common.panel import Panel
from quantlab.ui.common.precision_list import PrecisionList
from quantlab.ui.quality.form import FIELDS, QualityChoice, settings
from quantlab.ui.quality.handlers import QualityHandlers
from tests.fake_estimates import QUANTIZED
from tests.fakes import Script, services
from tests.quality_examples import quality
from tests.ui.pages import served
from tests.ui.test_looks import CUT_TEXTS, OVERLAPS, WIDE, grave, show_tables
from tests.ui.test_page import until
from tests.ui.test_quantizing import SPEC

APP = AppSettings(public=False)
SESSION = SimpleNamespace(session_hash="one")
CHOICE = QualityChoice(precisions=("fp32", "nf4"), windows=2)


def handlers(script: Script | None = None) -> QualityHandlers:
    """Handlers whose components are their own names, so that updates are read by name."""
    names = (
        *("offered", "about", "start", "stop", "status", "progress", "problem", "quality", "empty", "table"),
        *("advised", "advice", "charts"),
    )
    panels = tuple(
        Panel(
            f"{c.key}.column",
            (f"{c.key}.plot",),
            f"{c.key}.table",
            f"{c.key}.head",
            f"{c.key}.pick" if c.pick else None,
        )
        for c in QUALITY
    )
    inputs = SimpleNamespace(**{name: f"inputs.{name}" for name in FIELDS})
    parts = SimpleNamespace(inputs=inputs, panels=panels, **{name: name for name in names})
    return QualityHandlers(parts, APP, services(script or Script(0, 0)))


def values(choice: QualityChoice) -> list:
    return [getattr(choice, name) for name in FIELDS]


def measured(choice=CHOICE, script=None) -> list[dict]:
    made = handlers(script)
    made.begin(SESSION, *values(choice))
    return list(made.run(SESSION, *values(choice)))


def test_a_run_fills_the_table_then_the_charts():
    updates = measured(script=Script(0.2, 0.01))
    last = updates[-1]
    assert last["quality"].run("nf4").fidelity is not None and "All 2 are measured." in last["status"]
    assert last["advised"]["visible"] and last["charts"]["visible"] and last["start"]["interactive"]
    assert last["quality-map.plot"].data and "mean KLD" in last["quality-map.table"]
    assert last["quality-layers.pick"]["choices"] == ["nf4"] and last["quality-layers.pick"]["value"] == "nf4"
    # No task was asked for, so that chart has nothing.
    assert last["quality-flips.column"]["visible"] is False and "quality-flips.plot" not in last
    tables = [update["table"] for update in updates if "table" in update]
    assert "<small>waiting</small>" in tables[0] and "<small>waiting</small>" not in tables[-1]


def test_begin_shows_waiting_rows_and_hides_what_was():
    shown = handlers().begin(SESSION, *values(CHOICE))
    assert "Waiting for a free place" in shown["table"]
    assert shown["table"].count("<small>waiting</small>") == 2 and shown["charts"]["visible"] is False
    assert "table" not in handlers().begin(SESSION, *values(QualityChoice(precisions=())))


def test_a_wrong_input_is_a_card_and_the_tab_is_as_before():
    last = measured(QualityChoice(precisions=("fp32",), source="paste", pasted="short"))[-1]
    assert "one window takes" in last["problem"] and last["empty"]["visible"] and last["table"] == ""
    assert last["start"]["interactive"] and not last["stop"]["interactive"] and last["quality"] is None


def test_one_precision_alone_gives_figures_and_no_charts():
    last = measured(QualityChoice(precisions=("fp32",), windows=2))[-1]
    assert last["charts"]["visible"] is False and last["advised"]["visible"] is False and "fp32" in last["table"]


def test_a_chart_that_fails_takes_nothing_with_it(monkeypatch, caplog):
    from quantlab.reporting.charts import quality_map

    monkeypatch.setattr(quality_map, "figure", lambda *_: 1 / 0)
    last = measured()[-1]
    assert last["quality-map.plot"] is None and "could not be made" in last["quality-map.table"]
    assert last["quality-spread.plot"].data and "ZeroDivisionError" in caplog.text


def test_the_recommendation_follows_its_limits():
    advise, found = handlers().advise, quality(("fp32", "int8", "nf4", "rtn-2"), {})
    assert "Smallest under 0.1 nats: nf4" in advise(found, 0.1, 0)
    assert "Smallest under 0.001 nats: int8" in advise(found, 0.001, None)
    assert "None fits into 0.100 MB" in advise(found, 0.1, 0.1)
    assert "larger than zero" in advise(found, None, None) and "larger than zero" in advise(found, -1, None)
    assert "memory limit" in advise(found, 0.1, -5) and "memory limit" in advise(found, 0.1, float("nan"))
    assert advise(None, 0.1, 0) == ""


def test_what_is_recommended_comes_with_the_way_to_run_it():
    found = quality(("fp32", "int8", "nf4", "rtn-2"), {})
    told = handlers().advise(found, 0.1, 0)
    assert "<summary>Run nf4 without quantlab</summary>" in told and "bnb_4bit_quant_type=&#34;nf4&#34;" in told
    assert "Run rtn-2" not in told and "model_id = &#34;assets/demo-model&#34;" in told
    closed = handlers()
    closed.app = AppSettings(public=True)
    assert "model_id = &#34;./demo-model&#34;" in closed.advise(found, 0.1, 0)
    hostile = replace(found, model=replace(found.model, kind="hub", name="<img src=x>"))
    assert "<img" not in handlers().advise(hostile, 0.1, 0)


def test_another_precision_of_the_heat_map_is_drawn_from_what_is_there():
    index = next(i for i, chart in enumerate(QUALITY) if chart.key == "quality-layers")
    redraw, found = handlers().pick(index), quality(("fp32", "nf4", "rtn-2"), {})
    assert "rtn-2" in redraw(found, "rtn-2")["quality-layers.table"]
    assert "nf4" in redraw(found, "nf4")["quality-layers.table"]
    for picked in ("fp32", "no such", None):
        assert "quality-layers.table" not in redraw(found, picked)
    assert "quality-layers.table" not in redraw(None, "nf4")


def test_a_model_that_cannot_be_read_is_told_and_ticks_come_back():
    made = handlers()
    gone = made.estimate(
        "nobody/nothing", "default", ["fp32", "nf4"], PrecisionList(made.services.estimates("demo", None))
    )
    assert "nobody/nothing" in gone["problem"] and gone["inputs.precisions"]["value"] == []
    back = made.estimate("demo", "default", [], gone["offered"])
    assert back["problem"] == "" and back["inputs.precisions"]["value"] == ["fp32", "nf4"]
    assert made.estimate(QUANTIZED, "default", ["nf4"], back["offered"])["inputs.precisions"]["value"] == ["stored"]


def test_reference_and_compute_type_are_what_was_chosen():
    choice = replace(CHOICE, precisions=("fp32", "nf4"), reference="nf4", compute_dtype="bfloat16")
    asked = settings(choice, APP)
    assert asked.reference == "nf4" and asked.placement.compute_dtype == "bfloat16"
    last = measured(choice)[-1]
    assert last["quality"].reference == "nf4" and "Reference: <b>nf4</b>" in last["table"]
    assert "&#39;int8&#39; is none of the precisions" in measured(replace(choice, reference="int8"))[-1]["problem"]
    told = measured(replace(choice, compute_dtype="float8"))[-1]["problem"]
    assert "Unknown compute dtype" in told


def test_the_tab_starts_with_what_each_text_needs():
    shown = handlers().source("paste")
    assert shown["inputs.pasted"]["visible"] and not shown["inputs.file"]["visible"]
    assert "no training run has seen" in handlers().source("demo")["inputs.source"]["info"]


def test_the_text_follows_the_model_until_a_visitor_brings_one():
    for model, fitting in (("smollm2", "english"), ("demo", "demo"), ("", "english")):
        changed = handlers()._suited(model, "demo")["inputs.source"]
        assert changed["value"] == fitting and "suits this model" in changed["info"]
    for own in ("paste", "file", "wikitext2"):
        assert "value" not in handlers()._suited("demo", own)["inputs.source"]


# In a browser.

ROWS = "Array.from(document.querySelectorAll('.quality-table tbody tr'))"
DRAWN = """Array.from(document.querySelectorAll('[id^=panel-quality] .js-plotly-plot'))
    .map(plot => plot._fullData.map(trace => trace.type))"""
QUICK = {"load_s": 0.05, "gap_s": 0.005}


def quality_tab(page):
    page.click("button[role=tab]:has-text('Quality')")
    page.wait_for_selector("#quality-precisions input:checked")
    return page


def test_a_published_checkpoint_is_added_and_measured(open_page, quick):
    page = quality_tab(open_page(quick))
    page.uncheck("#quality-precisions input[name=fp4]")
    page.fill("#quality-add-spec :is(input, textarea)", SPEC)
    page.press("#quality-add-spec :is(input, textarea)", "Enter")
    page.wait_for_selector("#quality-added:has-text('in the list and ticked')")
    page.click("#quality-settings button")
    page.click("#quality-reference input")
    page.click("[role=option]:has-text('bf16')")
    measure(page)
    assert "Reference: bf16" in page.inner_text("#quality-table")
    assert "TinyLlama-1.1B-Chat-v1.0-GPTQ" in page.inner_text("#quality-table table")
    assert page.inner_text("#added").strip() == ""


def measure(page) -> None:
    """One click, until the charts are drawn."""
    page.click("#measure")
    page.wait_for_selector("#panel-quality-layers .js-plotly-plot", timeout=60_000)
    page.wait_for_selector("#measure:not([disabled])")
    page.wait_for_selector("#quality-advice .reasons")


@pytest.fixture(scope="module")
def quick_script() -> Script:
    return Script(**QUICK)


@pytest.fixture(scope="module")
def quick(quick_script):
    with served(quick_script) as address:
        yield address


def test_the_noise_floor_is_read_unless_its_box_is_cleared(open_page, quick):
    page = quality_tab(open_page(quick))
    page.wait_for_selector("#quality-noise-floor input:checked")
    page.uncheck("#quality-precisions input[name=bf16]")
    page.wait_for_selector("#quality-precisions input[name=bf16]:not(:checked)")
    measure(page)
    page.wait_for_selector(".floor-told:has-text('bf16 beside fp32')")
    page.uncheck("#quality-noise-floor input")
    page.wait_for_selector("#quality-noise-floor input:not(:checked)")
    measure(page)
    page.wait_for_selector(".floor-told:has-text('not measured: it was switched off')")


def test_one_click_measures_and_draws(open_page, quick, quick_script):
    page = quality_tab(open_page(quick))
    assert page.is_visible("text=Press Measure.") and page.is_disabled("#quality-stop")
    page.check("#quality-tasks input >> nth=0")
    measure(page)
    assert page.evaluate(f"{ROWS}.map(row => row.querySelector('th').innerText.split(/\\s/)[1])")[:3] == [
        "fp32", "bf16", "int8",
    ]  # fmt: skip
    assert page.locator(".row-done").count() == 6 and not page.is_visible("text=Press Measure.")
    assert "bf16 beside fp32" in page.inner_text("#quality-table")
    page.wait_for_timeout(500)
    drawn = [set(types) for types in page.evaluate(DRAWN)]
    assert drawn == [{"scatter"}, {"scatter"}, {"heatmap"}, {"scatter", "bar"}, {"heatmap"}]
    assert page.evaluate(CUT_TEXTS) == [] and page.evaluate(OVERLAPS) == []

    # How to run what is recommended is a click away, and one more selects all of it.
    page.click("#quality-advice summary:has-text('Run fp4 without quantlab')")
    page.click("#quality-advice details[open] pre")
    selected = page.evaluate("getSelection().toString()")
    assert selected.startswith("import torch") and 'bnb_4bit_quant_type="fp4"' in selected and "64" in selected
    assert not page.evaluate(WIDE)

    # Another bound, and another precision's layers: nothing is measured again.
    runs = len(quick_script.stops)
    assert "Smallest under 0.05 nats: fp4" in page.inner_text("#quality-advice")
    page.fill("#quality-bound input", "0.001")
    page.wait_for_selector("#quality-advice:has-text('Smallest under 0.001 nats: int8')")
    page.click("#panel-quality-layers .pick-one input")
    page.click("[role=option]:has-text('int8')")
    page.locator("#panel-quality-layers input[value=table]").evaluate("input => input.click()")
    page.wait_for_selector("#panel-quality-layers .as-table:has-text('Error of int8')")
    assert len(quick_script.stops) == runs


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page, quick, theme):
    page = quality_tab(open_page(f"{quick}?__theme={theme}"))
    page.wait_for_timeout(400)
    assert grave(page) == []
    measure(page)
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    page.wait_for_timeout(400)
    assert grave(page) == []


def test_a_phone_never_scrolls_sideways(open_page, quick):
    page = quality_tab(open_page(quick, width=400))
    assert not page.evaluate(WIDE)
    measure(page)
    page.wait_for_timeout(400)
    assert not page.evaluate(WIDE) and page.evaluate(CUT_TEXTS) == []
    show_tables(page)
    page.click("#quality-advice summary")
    assert page.is_visible("#quality-advice pre") and not page.evaluate(WIDE)


def test_rows_keep_their_places_and_stop_keeps_what_is_finished(open_page):
    script = Script(load_s=0.1, gap_s=0.03)
    with served(script) as address:
        page = quality_tab(open_page(address))
        page.click("#measure")
        page.wait_for_selector(".row-waiting")
        places = f"{ROWS}.map(row => [row, ...row.cells].map(e => Math.round(e.getBoundingClientRect().left * 9 + \
            e.getBoundingClientRect().top + scrollY)).join())"
        first, seen, said = page.evaluate(places), set(), ""
        while not page.locator(".row-done >> nth=1").count():
            seen.add(tuple(page.evaluate(places)))
            said += page.inner_text("#quality-progress")
            page.wait_for_timeout(50)
        assert seen == {tuple(first)} and "left" in said
        page.click("#quality-stop")
        until(lambda: script.running == 0, seconds=3)
        page.wait_for_selector("#quality-status:has-text('Stopped. What is finished stays.')")
        assert page.locator(".row-done").count() == 2 and page.locator(".row-stopped").count() == 4
        page.wait_for_selector("#panel-quality-map .js-plotly-plot")


def test_a_look_at_the_other_tab_misses_nothing(open_page):
    with served(Script(load_s=0.1, gap_s=0.02)) as address:
        page = quality_tab(open_page(address))
        page.click("#measure")
        page.wait_for_selector(".row-measuring")
        page.click("button[role=tab]:has-text('Compare')")
        page.wait_for_selector("#compare:visible")
        page.wait_for_function("document.querySelectorAll('.row-done').length === 6", timeout=30_000)
        page.wait_for_timeout(700)
        quality_tab(page)
        page.wait_for_selector("#panel-quality-map .js-plotly-plot")
        page.wait_for_function("""() => {
            const charts = Array.from(document.querySelectorAll('[id^=panel-quality] .as-chart'));
            const off = e => Math.abs(e.clientWidth - (e.querySelector('.main-svg')?.clientWidth ?? 1e9));
            return charts.length > 0 && charts.every(e => off(e) < 30);
        }""")


def test_a_closed_tab_stops_the_work(open_page):
    script = Script(load_s=0.05, gap_s=0.1)
    with served(script) as address:
        page = quality_tab(open_page(address))
        page.click("#measure")
        page.wait_for_selector(".row-measuring")
        page.context.close()
        until(lambda: script.running == 0 and script.stops[-1].is_set(), seconds=6)


def test_another_model_brings_its_text(open_page):
    with served(Script(**QUICK)) as address:
        page = quality_tab(open_page(address))
        page.wait_for_selector("#quality-source:has-text('suits this model')")
        assert page.is_checked("#quality-source input[value=demo]")
        page.fill("#quality-model input", "owner/name")
        page.keyboard.press("Enter")
        page.wait_for_selector("#quality-source input[value=english]:checked")
        page.click("#quality-source label:has-text('WikiText-2')")
        page.wait_for_selector("#quality-source:has-text('papers measure perplexity on')")
        page.fill("#quality-model input", "demo")
        page.keyboard.press("Enter")
        page.wait_for_selector("#quality-about:has-text('Bundled')")
        assert page.is_checked("#quality-source input[value=wikitext2]")


def test_tasks_that_cannot_be_had_are_greyed_with_the_reason(open_page):
    with served(Script(**QUICK, no_tasks="Task accuracy needs the package lm-eval.", failing=("nf4",))) as address:
        page = quality_tab(open_page(address))
        expect(page.locator("#quality-tasks input:disabled")).to_have_count(len(tasks.task_names()))
        assert "needs the package lm-eval" in page.inner_text("#quality-tasks")
        page.click("#quality-source label:has-text('Paste')")
        page.fill("#quality-pasted textarea", "Far too short.")
        page.click("#measure")
        page.wait_for_selector("#quality-problem:has-text('one window takes')")
        page.click("#quality-source label:has-text('English')")
        page.wait_for_selector("#quality-pasted", state="hidden")
        measure(page)
        card = page.inner_text(".row-failed")
        assert "9.8 GB" in card and "Choose one with fewer bits." in card
        assert "5 of 6 are measured." in page.inner_text("#quality-status")
        assert not page.is_visible("#quality-problem .fault")

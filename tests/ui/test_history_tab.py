"""The history tab: list, open, delete, import, and the whole of it in a browser."""

import json
import os
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from quantlab.errors import BadInput
from quantlab.export import LONGEST, read_json, to_json
from quantlab.history import History
from quantlab.records.events import Done, Started
from quantlab.settings import AppSettings
from quantlab.ui.common import fragments
from quantlab.ui.compare import runner as compare_runner
from quantlab.ui.compare import view
from quantlab.ui.compare.form import Choice
from quantlab.ui.compare.share import to_query
from quantlab.ui.history import side_by_side
from quantlab.ui.history.opened import Opened
from quantlab.ui.launch import start
from quantlab.ui.page import build_page
from tests.fakes import Script, alone, services
from tests.quality_examples import quality
from tests.ui.kept_page import COMPARISON, FORMAT_NAMES, LATER, handlers, rows, upload


def test_the_list_is_newest_first_and_is_searched(history, tmp_path):
    tab = handlers(history, tmp_path)
    assert "Nothing is kept yet" in rows(tab.find("", ""))
    history.keep(LATER)
    history.keep(COMPARISON)
    history.keep(quality())
    table = rows(tab.find("", ""))
    assert table.index("A lamp under") < table.index("held-out stories") and table.count("data-entry") == 3
    assert "2026-02-03" in table and "■</span> stopped" in table and "✓</span> done" in table
    assert rows(tab.find("LAMP rtn-2", "")).count("data-entry") == 1
    assert rows(tab.find("", "quality")).count("data-entry") == 1
    assert "Nothing is kept that has all these words" in rows(tab.find("lamp nothing", ""))


def test_an_entry_opens_with_its_date_machine_versions_and_charts(history, tmp_path):
    tab = handlers(history, tmp_path)
    entry = history.keep(COMPARISON)
    found = tab.open(entry, "", "", None)
    for said in ("Comparison of demo", "2026-01-02", "Example CPU", "torch 2.13.0", "Once upon a time", "greedy"):
        assert said in found["head"]
    assert (
        found["opened"].record == read_json(to_json(COMPARISON))
        and found["entries"]["value"] == entry
        and found["problem"] == ""
    )
    assert found["results"].count("<article") == 6 and "This precision needs 9.8 GB" in found["results"]
    drawn = tab.draw(found["opened"])
    assert drawn["memory"]["visible"] and not drawn["quality-map"]["visible"]
    assert drawn["tokens.divergence"].data[0].type == "heatmap" and "MB" in drawn["memory.table"]


def test_a_quality_run_opens_with_its_table_advice_and_picked_charts(history, tmp_path):
    tab = handlers(history, tmp_path)
    opened = tab.open(history.keep(quality()), "", "", None)
    assert "mean KLD" in opened["results"] and "Smallest under 0.05 nats" in opened["results"]
    drawn = tab.draw(opened["opened"])
    assert not drawn["memory"]["visible"] and drawn["quality-flips.pick"]["value"] == "demo_sums"
    flips = next(place for place, panel in enumerate(tab.parts.panels) if panel.chart.key == "quality-flips")
    again = tab.pick(flips)(opened["opened"], "demo_facts")
    assert again["quality-flips.figure"].data and "demo_facts" in again["quality-flips.table"]
    assert list(tab.pick(flips)(opened["opened"], "no such task")) == ["quality-flips.table"]  # skipped


def test_what_comes_from_elsewhere_is_escaped(history, tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    record = replace(
        COMPARISON, prompt=evil, model=replace(COMPARISON.model, name=evil),
        machine=replace(COMPARISON.machine, cpu=evil), versions={evil: evil},
    )  # fmt: skip
    tab = handlers(history, tmp_path)
    found = tab.open(history.keep(record), "", "", None)
    page = found["head"] + found["results"] + rows(tab.find("", "")) + side_by_side.render(record, COMPARISON)
    assert "&lt;img" in page and "<img" not in page


def test_an_entry_that_cannot_be_read_is_told_and_can_be_deleted(history, tmp_path):
    tab = handlers(history, tmp_path)
    entry = history.keep(COMPARISON)
    with sqlite3.connect(history.file) as connection:
        connection.execute("UPDATE runs SET data = '{'")
    found = tab.open(entry, "", "", None)
    assert "cannot be read" in found["problem"] and "Delete it" in found["problem"] and found["delete"]["visible"]
    assert not any(found[name]["visible"] for name in FORMAT_NAMES)
    tab.delete("", "", found["opened"])
    assert history.entries() == ()


def test_deleting_asks_first(history, tmp_path):
    tab = handlers(history, tmp_path)
    first, second = history.keep(COMPARISON), history.keep(LATER)
    opened = tab.open(first, "", "", None)["opened"]
    assert tab.ask()["sure"]["visible"] and not tab.keep()["sure"]["visible"] and len(history.entries()) == 2
    gone = tab.delete("", "", opened)
    assert [entry.id for entry in history.entries()] == [second] and not gone["shown"]["visible"]
    assert gone["opened"] is None and "Deleted." in gone["status"]
    assert "has no entry" in tab.open(first, "", "", None)["problem"]


@pytest.mark.parametrize("record", [LATER, quality()], ids=["comparison", "quality"])
def test_a_colleagues_file_is_kept_once_and_opened(history, tmp_path, record):
    tab = handlers(history, tmp_path)
    file = upload(tmp_path / "up", to_json(record))
    found = tab.read(file, "", "", None)
    assert found["opened"].record == read_json(to_json(record)) and "It is in the history now" in found["status"]
    assert not Path(file).exists() and len(history.entries()) == 1
    again = tab.read(upload(tmp_path / "up", to_json(record)), "", "", None)
    assert "already" in again["status"] and len(history.entries()) == 1


BAD_FILES = {
    "not JSON": ("some words", "no JSON"),
    "not ours": ('{"schema": "other/1"}', "schema"),
    "edited": (to_json(COMPARISON).replace('"prompt":', '"prompt2":', 1), "prompt2"),
    "a figure edited": (to_json(COMPARISON).replace('"cores": 2', '"cores": "two"'), "cores"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_not_ours_is_refused_in_words(history, tmp_path, kind):
    content, said = BAD_FILES[kind]
    found = handlers(history, tmp_path).read(upload(tmp_path / "up", content), "", "", None)
    assert said in found["problem"] and "opened" not in found and history.entries() == ()
    assert "our side" not in found["problem"] and found["upload"] is None


def test_a_file_that_is_too_large_is_refused(history, tmp_path):
    file = tmp_path / "large.json"
    with file.open("wb") as large:
        large.truncate(LONGEST + 10)
    found = handlers(history, tmp_path).read(str(file), "", "", None)
    assert "longer than" in found["problem"] and not file.exists()


def test_where_nothing_is_kept_a_file_is_only_shown(tmp_path):
    tab = handlers(None, tmp_path)
    assert tab.find("", "")["entries"]["visible"] == "hidden"
    found = tab.read(upload(tmp_path / "up", to_json(COMPARISON)), "", "", None)
    assert "not kept" in found["head"] and found["results"] and found["opened"] == Opened(
        read_json(to_json(COMPARISON)), None
    )  # fmt: skip
    assert not found["delete"]["visible"] and not found["beside"]["visible"] and found["JSON"]["visible"]
    assert "Nothing is kept" in tab.open(1, "", "", None)["problem"]
    assert list(tmp_path.glob("*.sqlite*")) == []


def test_a_history_that_cannot_be_used_is_told(tmp_path):
    def broken():
        raise BadInput("The history is of version 9.", "Update quantlab.")

    tab = handlers(None, tmp_path)
    tab.services = replace(tab.services, history=broken)
    assert "version 9" in rows(tab.find("", ""))
    damaged = tmp_path / "history.sqlite"
    damaged.write_bytes(os.urandom(4_096))
    assert "set aside" in rows(handlers(History(damaged), tmp_path).find("", ""))


def test_a_replay_is_said_plainly_and_measuring_again_reaches_the_comparison():
    names = tuple(run.precision for run in LATER.runs)
    ids, tokens = LATER.prompt_token_ids, LATER.prompt_tokens
    shown = view.fold(view.View(), Started(names, LATER.reference, ids, tokens, LATER.model))
    assert "Nothing ran" not in fragments.status(view.fold(shown, Done(LATER)), running=False)
    said = fragments.status(view.fold(shown, Done(LATER, replayed=True)), running=False)
    assert "Nothing ran:" in said and "2026-02-03" in said and "Other CPU" in said
    asked = []

    def compare(*given, stop, fresh):
        asked.append(fresh)
        yield Done(LATER)

    for fresh in (False, True):
        chosen = Choice(prompt="Hello", precisions=("fp32", "nf4"), fresh=fresh)
        app = AppSettings(public=False)
        list(compare_runner.views(chosen, app, replace(services(), compare=compare), threading.Event(), alone()))
        assert "fresh" not in to_query(chosen)
    assert asked == [False, True]


def test_the_tab_in_a_browser(open_page, tmp_path, history):
    history.keep(COMPARISON)
    history.keep(replace(COMPARISON, prompt="Another day", started=LATER.started))
    app = AppSettings(public=False, port=0, history_file=history.file)
    page = build_page(app, replace(services(Script(0, 0)), history=lambda: history))
    start(page, app, block=False)
    try:
        visit(open_page(page.local_url), tmp_path)
    finally:
        page.close(verbose=False)
    assert [entry.title for entry in history.entries()] == ["A lamp under the bridge", "Once upon a time"]


def visit(page, folder: Path) -> None:
    page.click("button[role=tab]:has-text('History')")
    row = page.locator("#kept-list tr[data-entry]")
    row.nth(1).wait_for()
    assert "Another day" in row.nth(0).inner_text() and "Once upon a time" in row.nth(1).inner_text()
    page.fill("#kept-search :is(input, textarea)", "another")
    page.wait_for_function("document.querySelectorAll('#kept-list tr[data-entry]').length === 1")
    row.nth(0).locator("button").press("Enter")
    page.wait_for_selector("#panel-kept-tokens .js-plotly-plot >> nth=1")
    drawn = page.locator("#kept-charts .js-plotly-plot").evaluate_all(
        "plots => plots.map(plot => [...new Set(plot._fullData.map(trace => trace.type))].sort().join())"
    )
    assert drawn == ["bar,scatter", "bar,box,scatter", "bar", "heatmap,scatter", "scatter"]
    assert page.locator(".kept-columns .col").count() == 6 and "Example CPU" in page.inner_text("#kept-about")
    with page.expect_download() as download:
        page.click("#kept-json")
    assert json.loads(Path(download.value.path()).read_text())["prompt"] == "Another day"
    page.click("#kept-delete")
    page.click("#kept-delete-now")
    page.wait_for_selector("#kept-status:has-text('Deleted.')")
    assert not page.is_visible("#kept-shown")
    page.fill("#kept-search :is(input, textarea)", "")
    with page.expect_file_chooser() as chooser:
        page.click("#kept-upload")
    chooser.value.set_files(upload(folder, to_json(LATER)))
    page.wait_for_selector("#kept-status:has-text('in the history now')")
    page.wait_for_selector("#kept-list tr.kept-opened:has-text('A lamp under the bridge')")
    page.click("#kept-other input")
    page.click("[role=option]:has-text('Once upon a time')")
    page.click("#kept-beside")
    page.wait_for_selector(".kept-beside:has-text('The prompts differ')")
    assert page.locator(".kept-card").count() == 2

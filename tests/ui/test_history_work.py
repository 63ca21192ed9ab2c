"""What the history tab does with what is open: side by side, files, resuming; and how the history is opened."""

import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from quantlab.errors import Unavailable
from quantlab.export import read_json, to_json
from quantlab.history import History
from quantlab.records.events import Done, Finished, Started
from quantlab.settings import AppSettings
from quantlab.ui.common.exports import FORMATS
from quantlab.ui.common.recorded import RecordedJobs
from quantlab.ui.history import side_by_side
from quantlab.ui.history.opened import Opened
from tests.examples import QUIET
from tests.quality_examples import quality
from tests.ui.kept_page import COMPARISON, FORMAT_NAMES, LATER, REQUEST, handlers, upload


def test_two_of_a_kind_stand_side_by_side(history, tmp_path):
    tab = handlers(history, tmp_path)
    first, second = history.keep(COMPARISON), history.keep(LATER)
    opened = tab.open(first, "", "", None)
    assert opened["beside"]["visible"] and [value for _, value in opened["other"]["choices"]] == [second]
    page = tab.beside(opened["opened"], second)["together"]
    for said in ("2026-01-02", "2026-02-03", "Example CPU", "Other CPU", "The prompts differ", "different machines"):
        assert said in page
    assert "Failed in A: This precision needs 9.8 GB" in page and '<th scope="row">Answer' not in page
    assert "No second entry" in tab.beside(opened["opened"], None)["problem"]


def test_figures_of_other_definitions_are_said_to_be_of_another_kind():
    one, other = (replace(it, runs=tuple(replace(run, metrics=n) for run in it.runs)) for it, n in
                  ((COMPARISON, 3), (LATER, 0)))  # fmt: skip
    said = "Their figures follow definitions of different versions"
    assert said in side_by_side.render(one, other) and said not in side_by_side.render(one, one)


def test_the_figures_of_both_are_set_in_relation():
    slower = replace(COMPARISON.run("nf4"), ttft_samples=(1.0, 1.01, 0.99))
    fast = replace(slower, ttft_samples=(0.25, 0.26, 0.24))
    one, other = (replace(COMPARISON, runs=(run,)) for run in (slower, fast))
    page = side_by_side.render(one, other)
    assert '<td class="num" title="1.0">1.00 s ± 1 %</td><td class="num" title="0.25">250 ms ± 4 %</td>' in page
    assert "0.250 x" in page and '<th scope="row">Answer</th>' in page
    changed = replace(fast, token_ids=(*fast.token_ids[:3], 1, *fast.token_ids[4:]))
    assert "first differs at token 3" in side_by_side.render(one, replace(COMPARISON, runs=(changed,)))
    assert side_by_side.relation(0.5, 0.625, points=True) == "+12 pp"
    assert side_by_side.relation(0.625, 0.5, points=True) == "-12 pp"
    assert side_by_side.relation(0.0, 0.1) == "-" and side_by_side.relation(None, 1.0) == "-"
    assert side_by_side.relation(0.0, 0.0) == "same"


def test_times_that_bear_no_claim_are_not_related():
    def beside(**figures) -> str:
        other = replace(COMPARISON.run("nf4"), ttft_samples=(1.0, 1.01, 0.99), **figures)
        return side_by_side.render(*(replace(COMPARISON, runs=(run,)) for run in (COMPARISON.run("nf4"), other)))

    steady = beside(decode_samples=(10.0, 10.1, 9.9))
    assert "not compared" not in steady and "no difference" not in steady
    near = tuple(1.01 * speed for speed in COMPARISON.run("nf4").decode_samples)
    assert beside(decode_samples=near).count(">no difference<") == 1
    busy = beside(decode_samples=(10.0, 10.1, 9.9), cpu=replace(QUIET, others_s=2.1))
    why = "B: the machine was busy: other programs took 1.4 of 2 cores while it was timed"
    assert busy.count(f'title="{why}">not compared<') == 2 and " x<" not in re.sub("(?s).*>First token", "", busy)


def test_two_qualities_show_accuracies_and_what_is_not_alike():
    other = replace(quality(), text=replace(quality().text, name="english"), reference="bf16")
    page = side_by_side.render(quality(), other)
    assert "Accuracy, demo_facts" in page and "Different texts" in page and "from fp32 in A and from bf16 in B" in page
    # Distances of other tokens, or from another reference, are in no relation; sizes, speeds and accuracies are.
    alike = side_by_side.render(quality(), quality(floor=False))
    assert page.count(f">{side_by_side.SAME}<") < alike.count(f">{side_by_side.SAME}<")
    assert re.search(r">Perplexity</a>.*?>-</td></tr>", page) and not re.search(
        r">Perplexity</a>.*?>-</td></tr>", alike
    )


def test_two_kinds_are_refused_in_words(history, tmp_path):
    tab = handlers(history, tmp_path)
    first, second = history.keep(COMPARISON), history.keep(quality())
    found = tab.beside(tab.open(first, "", "", None)["opened"], second)
    assert "no figures in common" in found["problem"] and found["together"] == ""


@pytest.mark.parametrize("record", [COMPARISON, quality()], ids=["comparison", "quality"])
@pytest.mark.parametrize("place", range(len(FORMATS)), ids=FORMAT_NAMES)
def test_each_format_is_a_file_that_only_this_download_needs(tmp_path, place, record):
    tab = handlers(None, tmp_path / "cache")
    export = tab.export(place)
    first, second = (Path(export(REQUEST, Opened(record, None))[tab.parts.file]) for _ in range(2))
    assert not first.exists() and second.is_file() and first.parent != second.parent
    assert second.parent.parent == tmp_path / "cache" and second.name.endswith(f"-demo-20260102-030405{second.suffix}")
    if place == 0:
        assert read_json(second.read_bytes()) == read_json(to_json(record))
    else:
        assert "nf4" in second.read_text("utf-8")
    tab.leave(REQUEST)
    assert list((tmp_path / "cache").iterdir()) == []


def interrupted(history: History) -> int:
    """A comparison of which two of six runs were kept."""
    draft = replace(LATER, runs=())
    entry = history.begin(draft, {"model": "demo"}, [run.precision for run in LATER.runs])
    for run in LATER.runs[:2]:
        history.add_run(entry, run)
    history.interrupt(entry)
    return entry


def test_what_was_interrupted_says_what_is_missing_and_is_resumed(history, tmp_path):
    def resume(entry, stop):
        names = tuple(run.precision for run in LATER.runs)
        yield Started(names, LATER.reference, LATER.prompt_token_ids, LATER.prompt_tokens, LATER.model)
        for run in LATER.runs:
            yield Finished(run)
        history.finish(entry, LATER)
        yield Done(LATER)

    tab = handlers(history, tmp_path, resume)
    entry = interrupted(history)
    before = tab.open(entry, "", "", None)
    assert "Not complete: int8, nf4, fp4, rtn-2." in before["head"] and before["resume"]["visible"]
    tab.begin(REQUEST)
    *steps, last = tab.resume(REQUEST, "", "", before["opened"])
    assert any("6 of 6 have answered" in str(step["status"]) for step in steps)
    assert "complete" in last["status"] and last["opened"].record.runs == LATER.runs
    assert not last["resume"]["visible"] and history.entry(entry).state == "done"


def test_stop_before_its_turn_and_errors_leave_the_entry_as_it_was(history, tmp_path):
    def resume(entry, stop):
        raise Unavailable("The model is gone.", "Bring it back.")
        yield

    tab = handlers(history, tmp_path, resume)
    entry = interrupted(history)
    opened = tab.open(entry, "", "", None)["opened"]
    tab.begin(REQUEST)
    (last,) = tab.resume(REQUEST, "", "", opened)
    assert "The model is gone." in last["problem"] and last["resume"]["visible"]
    tab.begin(REQUEST)
    tab.stop(REQUEST)
    (last,) = tab.resume(REQUEST, "", "", opened)
    assert "problem" not in last and "Left the queue. Nothing ran." in last["status"] and last["resume"]["interactive"]
    assert history.entry(entry).state == "interrupted"


def test_what_was_measured_elsewhere_is_not_resumed_here(history, tmp_path):
    found = handlers(history, tmp_path).open(history.keep(COMPARISON), "", "", None)
    assert history.entry(found["opened"].id).resumable and not found["resume"]["visible"]
    assert "Not complete: int8, rtn-2. It was measured elsewhere" in found["head"]


def test_handlers_run_in_many_threads(history, tmp_path):
    tab = handlers(history, tmp_path)
    entry = history.keep(COMPARISON)

    def visit(i: int) -> str:
        file = upload(tmp_path / f"up{i}", to_json(replace(LATER, started=LATER.started.replace(minute=i))))
        return tab.read(file, "", "", None)["problem"] + tab.open(entry, "", "", None)["problem"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(visit, range(16))) == [""] * 16
    assert len(history.entries()) == 17


def test_the_history_opens_once_marks_what_was_left_and_may_be_mended(tmp_path):
    file = tmp_path / "history.sqlite"
    entry = History(file).begin(COMPARISON, {}, ["fp32"])
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE entries SET owner = 'gone'")
    kept = RecordedJobs(AppSettings(public=False, history_file=file))
    assert kept.history().entry(entry).state == "interrupted" and kept.history() is kept.history()
    assert RecordedJobs(AppSettings(public=True, history_file=file)).history() is None
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    kept = RecordedJobs(AppSettings(public=False, history_file=blocked))
    with pytest.raises(Unavailable):
        kept.history()
    blocked.rmdir()
    assert kept.history().entries() == ()

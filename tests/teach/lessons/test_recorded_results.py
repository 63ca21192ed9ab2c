"""Recorded results: whole, small, of this version; and what is said where they are not."""

import json
from dataclasses import replace

import pytest

from quantlab.errors import BadInput
from quantlab.export import to_json
from quantlab.measure import trust
from quantlab.teach.lessons import observing
from quantlab.teach.lessons.acted import Acted
from quantlab.teach.recorded import FOLDER, making, recorded


def test_all_that_the_lessons_need_is_recorded_and_small():
    assert {it.stem for it in FOLDER.glob("*.json")} >= set(making.REQUESTS)
    assert sum(it.stat().st_size for it in FOLDER.iterdir()) < 1_000_000


@pytest.mark.parametrize("name", making.REQUESTS)
def test_a_recorded_result_is_what_its_request_asks(name):
    found, request = recorded(name), making.REQUESTS[name]()
    assert {run.precision for run in found.record.runs} == set(request.precisions)
    assert found.record.model.name == request.model and not any(run.error or run.stopped for run in found.record.runs)
    assert found.record.settings.reference == request.settings.reference
    assert found.record.machine.cpu in found.told and str(found.record.started.year) in found.told


def test_the_recorded_speeds_bear_a_verdict():
    for name in ("lesson-5-demo", "lesson-5-smollm2"):
        assert trust.verdict(recorded(name).record.runs).why_not == ""


@pytest.mark.parametrize("number", [1, 4, 5])
def test_one_that_is_missing_is_said_and_the_lesson_goes_on(number, tmp_path):
    found = observing.observe(number, Acted(), tmp_path)
    assert found.truth is None and "is not here" in found.missing and "on this machine" in found.missing
    record = recorded({1: "lesson-1", 4: "lesson-4", 5: "lesson-5-demo"}[number]).record
    live = observing.of_run(number, record, Acted(), tmp_path)
    assert live.live and live.truth is not None and live.truth.source.startswith("Measured here: ")


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda data: "no json", "no JSON"),
        (lambda data: json.dumps({**data, "schema": "quantlab.comparison/99"}), "version 99"),
        (lambda data: json.dumps({**data, "schema": "other"}), "schema"),
        (lambda data: json.dumps({key: it for key, it in data.items() if key != "machine"}), "machine"),
        (lambda data: json.dumps({**data, "runs": [{**it, "metrics": 0} for it in data["runs"]]}), "another version"),
        (lambda data: "", "no JSON"),
    ],
)
def test_one_that_is_damaged_or_of_another_version_is_said(damage, what, tmp_path):
    data = json.loads((FOLDER / "lesson-1.json").read_text())
    (tmp_path / "lesson-1.json").write_text(damage(data))
    with pytest.raises(BadInput, match=what):
        recorded("lesson-1", tmp_path)
    assert what in observing.observe(1, Acted(), tmp_path).missing


def test_one_without_the_column_that_is_needed(tmp_path):
    record = recorded("lesson-1").record
    less = replace(record, runs=record.runs[:1])
    (tmp_path / "lesson-1.json").write_text(to_json(less))
    assert "There is no answer of bf16" in observing.observe(1, Acted(), tmp_path).missing


def test_one_that_was_made_anew_is_read_anew(tmp_path):
    record = recorded("lesson-1").record
    file = tmp_path / "lesson-1.json"
    file.write_text(to_json(record))
    assert recorded("lesson-1", tmp_path).record.prompt == record.prompt
    file.write_text(to_json(replace(record, prompt="Another prompt.")))
    assert recorded("lesson-1", tmp_path).record.prompt == "Another prompt."


def test_making_writes_what_was_run_and_tells_a_doubtful_speed(tmp_path, monkeypatch, capsys):
    record, tried = recorded("lesson-5-demo").record, []
    slow = replace(record, runs=tuple(replace(it, decode_samples=it.decode_samples[:1]) for it in record.runs))
    monkeypatch.setattr(making, "FOLDER", tmp_path)
    monkeypatch.setattr(making, "run", lambda request: tried.append(request) or slow)
    assert making.main(["lesson-5-demo"]) == 1 and len(tried) == making.TRIES
    assert "lesson-5-demo: written, but" in capsys.readouterr().out
    monkeypatch.setattr(making, "run", lambda request: record)
    assert making.main(["lesson-5-demo"]) == 0
    assert recorded("lesson-5-demo", tmp_path).record == record
    with pytest.raises(BadInput, match="Unknown recorded result"):
        making.main(["lesson-9"])

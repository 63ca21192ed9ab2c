"""The history: what is kept comes back, in any thread, and is found, resumed, replayed and deleted."""

import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from quantlab.errors import BadInput
from quantlab.history import History
from quantlab.records import Comparison, Quality
from quantlab.settings import AppSettings
from tests.examples import example_comparison
from tests.export.drawing import COMPARISONS, QUALITIES, example_quality

ASKED = {"model": "demo", "precisions": ["fp32", "nf4"], "prompt": "Once upon a time"}


@pytest.fixture
def history(tmp_path) -> History:
    return History(tmp_path / "deep" / "history.sqlite")


def draft(record: Comparison | Quality) -> Comparison | Quality:
    return replace(record, runs=())


def unplaced(record: Comparison | Quality) -> Comparison | Quality:
    return replace(record, model=replace(record.model, folder=None, gguf=None))


def names(record: Comparison | Quality) -> list[str]:
    return [run.precision for run in record.runs]


@pytest.mark.parametrize(
    "record", (example_comparison(), example_quality(failed="int8")), ids=("comparison", "quality")
)
def test_a_record_is_kept_run_by_run_and_comes_back_whole(history: History, record: Comparison | Quality):
    entry = history.begin(draft(record), ASKED, names(record))
    for i, run in enumerate(record.runs):
        history.add_run(entry, run)
        halfway = history.get(entry)
        assert halfway == unplaced(replace(record, runs=record.runs[: i + 1]))
    assert history.entry(entry).state == "running" and history.entry(entry).ended is None
    history.finish(entry, record)
    assert History(history.file).get(entry) == unplaced(record)
    line = history.entry(entry)
    assert line.state == ("stopped" if any(run.stopped for run in record.runs) else "done")
    assert line.precisions == tuple(names(record)) and line.ended is not None and not line.imported
    assert line.finished == tuple(run.precision for run in record.runs if not run.stopped)
    assert line.failed == tuple(run.precision for run in record.runs if run.error)
    assert line.started == record.started and history.asked(entry) == ASKED


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(COMPARISONS | QUALITIES)
def test_any_record_is_kept(history: History, record: Comparison | Quality):
    entry = history.keep(record)
    assert history.get(entry) == record and history.entries(limit=1)
    history.delete(entry)


def test_finishing_gives_the_runs_the_record_s_own_order(history: History):
    record = example_comparison(("fp32", "bf16", "nf4"), errors={}, stopped=None)
    entry = history.begin(draft(record), ASKED, names(record))
    for run in reversed(record.runs):
        history.add_run(entry, run)
    assert names(history.get(entry)) == ["nf4", "bf16", "fp32"]
    history.finish(entry, record)
    assert names(history.get(entry)) == ["fp32", "bf16", "nf4"]


def test_the_list_is_searched_by_model_prompt_and_precision(history: History):
    comparison, quality = example_comparison(("fp32", "nf4"), stopped=None), example_quality(("fp32", "rtn-2"))
    first = history.keep(replace(comparison, prompt="Ein Gruß an 100 % der Welt_, Zeit_"))
    later = replace(comparison, prompt="Second", started=comparison.started + timedelta(days=1))
    second = history.keep(replace(later, model=replace(later.model, name="shape:Mistral-7B-v0.3", kind="shape")))
    third = history.keep(replace(quality, started=quality.started + timedelta(days=2)))

    def found(search: str = "", **more) -> list[int]:
        return [entry.id for entry in history.entries(search, **more)]

    assert found() == [third, second, first] and all(entry.imported for entry in history.entries())
    assert found(limit=1, offset=1) == [second]
    assert found("GRUSS welt") == [first] and found("100 %") == [first] and found("nf4") == [second, first]
    assert found("mistral") == [second] and found("held-out RTN-2") == [third] and found("demo_facts") == [third]
    assert found("%") == [first] and found("t_") == [first] and found("nothing like it") == []
    assert found(kind="quality") == [third] and found("fp32", kind="comparison") == [second, first]
    assert found("a" * 10_000) == [] and found(" ".join("ö" * 2_000)) == [] and found("\ud800 \0") == []


def test_an_interrupted_entry_is_resumed_and_finished(history: History):
    record = example_quality(("fp32", "int8", "nf4"), failed="int8")
    entry = history.begin(draft(record), ASKED, names(record))
    with pytest.raises(BadInput, match="still being worked on"):
        history.resume(entry)
    for run in record.runs[:2]:
        history.add_run(entry, run)
    history.interrupt(entry)
    assert history.entry(entry).resumable and history.entry(entry).ended is not None
    resumed = history.resume(entry)
    assert resumed.asked == ASKED and resumed.done == record.runs[:1], "a failed run is done again"
    assert history.entry(entry).state == "running"
    whole = example_quality(("fp32", "int8", "nf4"))
    for run in whole.runs[1:]:
        history.add_run(entry, run)
    history.finish(entry, whole)
    assert history.get(entry) == whole and history.entry(entry).state == "done"
    with pytest.raises(BadInput, match="complete already"):
        history.resume(entry)
    history.interrupt(entry)
    assert history.entry(entry).state == "done", "an end is an end"


def test_only_what_is_complete_and_right_is_replayed(history: History):
    good = example_comparison(("fp32", "nf4"), errors={}, stopped=None)
    failed = example_comparison(("fp32", "int8"), stopped=None)
    stopped = example_comparison(("fp32", "nf4"), errors={}, stopped="nf4")
    for record in (failed, stopped):
        entry = history.begin(draft(record), ASKED, names(record), key="k")
        assert history.find("k") is None
        history.finish(entry, record)
        assert history.find("k") is None
    entries = []
    for _ in range(2):
        entries.append(history.begin(draft(good), ASKED, names(good), key="k"))
        history.finish(entries[-1], good)
    assert history.find("k").id == entries[-1] and history.find("other") is None
    history.delete(entries[-1])
    assert history.find("k").id == entries[0]


def test_what_was_deleted_is_gone_from_the_file_too(history: History):
    secret = "the prompt nobody must see " * 3
    record = replace(example_comparison(("fp32",)), prompt=secret)
    entry = history.keep(record, {"prompt": secret})
    assert any(
        secret.encode() in path.read_bytes() for path in history.file.parent.glob("history.sqlite*") if path.is_file()
    )
    history.delete(entry)
    history.delete(entry)
    assert history.entries() == ()
    assert not any(
        secret.encode() in path.read_bytes() for path in history.file.parent.glob("history.sqlite*") if path.is_file()
    )
    for work in (history.get, history.asked, history.entry, history.resume):
        with pytest.raises(BadInput, match="has no entry"):
            work(entry)
    with pytest.raises(BadInput, match="has no entry"):
        history.add_run(entry, record.runs[0])
    with pytest.raises(BadInput, match="has no entry"):
        history.finish(entry, record)


def test_many_threads_write_at_once(history: History):
    record = example_comparison(("fp32", "nf4"), stopped=None)
    faults: list[Exception] = []

    def work() -> None:
        try:
            for _ in range(5):
                entry = history.begin(draft(record), ASKED, names(record))
                for run in record.runs:
                    history.add_run(entry, run)
                history.finish(entry, record)
                assert history.get(entry) == unplaced(record) and history.entries()
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == [] and len(history.entries()) == 40


@pytest.mark.parametrize(
    ("given", "expected"),
    (({"QUANTLAB_HISTORY_FILE": "/x/h.db"}, Path("/x/h.db")), ({"QUANTLAB_HISTORY_FILE": " "}, None),
     ({"XDG_DATA_HOME": "/data"}, Path("/data/quantlab/history.sqlite")),
     ({"HOME": "/home/ada"}, Path("/home/ada/.local/share/quantlab/history.sqlite")),
     ({"QUANTLAB_HISTORY_FILE": "/x/h.db", "QUANTLAB_PUBLIC": "1"}, None), ({"SPACE_ID": "a/b"}, None)),
)  # fmt: skip
def test_the_settings_say_where_and_public_keeps_nothing(monkeypatch, given, expected):
    for name in ("QUANTLAB_HISTORY_FILE", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert AppSettings().history_file == expected

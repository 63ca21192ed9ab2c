"""Events pass through unchanged, and what they carry is kept before anybody sees it."""

from collections.abc import Generator
from dataclasses import replace

import pytest

from quantlab.errors import ModelError
from quantlab.history import History, Recorder
from quantlab.records import Comparison, Quality
from quantlab.records.events import (
    Done,
    Event,
    Finished,
    Loading,
    Measured,
    NotKept,
    QualityDone,
    QualityStarted,
    Started,
)
from tests.examples import example_comparison
from tests.export.drawing import example_quality

COMPARISON = example_comparison(("fp32", "bf16", "nf4"), errors={}, stopped=None)
ASKED = {"model": "demo"}


@pytest.fixture
def history(tmp_path) -> History:
    return History(tmp_path / "history.sqlite")


def events(record: Comparison | Quality, error: Exception | None = None) -> Generator[Event, None, None]:
    names = tuple(run.precision for run in record.runs)
    yield Loading("", 0, 1, "model")
    if isinstance(record, Quality):
        yield QualityStarted(names, record.reference, record.text, record.model)
        yield from map(Measured, record.runs)
        yield QualityDone(record)
        return
    yield Started(names, record.reference, record.prompt_token_ids, record.prompt_tokens, record.model)
    for run in record.runs:
        yield Finished(run)
        if error is not None:
            raise error
    yield Done(record)


def draft(event: Started | QualityStarted) -> Comparison | Quality:
    return replace(COMPARISON if isinstance(event, Started) else example_quality(), runs=())


@pytest.mark.parametrize("record", (COMPARISON, example_quality()), ids=("comparison", "quality"))
def test_the_events_pass_and_the_record_is_kept(history: History, record: Comparison | Quality):
    recorder = Recorder(history, ASKED, key="k")
    assert list(recorder.follow(events(record), draft)) == list(events(record))
    assert history.get(recorder.entry).runs == record.runs and history.find("k").id == recorder.entry
    assert recorder.fault == "" and history.asked(recorder.entry) == ASKED


def test_a_run_is_kept_before_it_is_seen(history: History):
    recorder, seen = Recorder(history, ASKED), 0
    for event in recorder.follow(events(COMPARISON), draft):
        if isinstance(event, Finished):
            seen += 1
            assert len(history.get(recorder.entry).runs) == seen
    assert seen == 3


def test_nobody_looking_any_more_is_an_interruption(history: History):
    recorder, ended = Recorder(history, ASKED), []

    def watched() -> Generator[Event, None, None]:
        try:
            yield from events(COMPARISON)
        finally:
            ended.append(True)

    following = recorder.follow(watched(), draft)
    for event in following:
        if isinstance(event, Finished):
            break
    following.close()
    assert ended and history.entry(recorder.entry).state == "interrupted"
    assert history.get(recorder.entry).runs == COMPARISON.runs[:1]


def test_an_error_passes_and_interrupts(history: History):
    recorder = Recorder(history, ASKED)
    with pytest.raises(ModelError):
        list(recorder.follow(events(COMPARISON, ModelError("gone")), draft))
    assert history.entry(recorder.entry).state == "interrupted"


def test_a_resumed_entry_is_gone_on_with(history: History):
    recorder = Recorder(history, ASKED)
    with pytest.raises(ModelError):
        list(recorder.follow(events(COMPARISON, ModelError("gone")), draft))
    history.resume(recorder.entry)
    again = Recorder(history, ASKED, entry=recorder.entry)
    list(again.follow(events(COMPARISON), draft))
    assert [entry.id for entry in history.entries()] == [recorder.entry]
    assert history.get(recorder.entry).runs == COMPARISON.runs and history.entry(recorder.entry).state == "done"


def test_a_history_that_fails_does_not_take_the_work_with_it(history: History):
    recorder = Recorder(history, ASKED)
    following = recorder.follow(events(COMPARISON), draft)
    seen = []
    for event in following:
        seen.append(event)
        if isinstance(event, Started):
            history.delete(recorder.entry)
    told = [event for event in seen if isinstance(event, NotKept)]
    assert [event for event in seen if event not in told] == list(events(COMPARISON))
    assert [event.why for event in told] == [recorder.fault] and "has no entry" in recorder.fault


def test_without_a_history_the_events_pass():
    assert list(Recorder(None, ASKED).follow(events(COMPARISON), draft)) == list(events(COMPARISON))

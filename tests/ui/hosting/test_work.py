"""Jobs are counted as they end, and none begins once the server is about to end."""

import threading
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from quantlab.errors import BadInput, QuantlabError, Stopped, Unavailable
from quantlab.records import ComparisonRequest
from quantlab.records.events import Loaded
from quantlab.settings import AppSettings
from quantlab.ui.hosting.metrics import Metrics
from quantlab.ui.hosting.work import Work
from quantlab.ui.launch import real_services
from quantlab.ui.turns.cut_short import SERVER_ENDS, why
from tests.fakes import Script, services

ASKED = ComparisonRequest("demo", ("fp32", "nf4"), "Once upon a time")


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Value of each sample, by its name and the values of its labels."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {(it.name, *it.labels.values()): it.value for family in families for it in family.samples}


def numbers(stop: threading.Event, error: BaseException | None = None):
    yield 1
    if error is not None:
        raise error
    yield 2
    return "the end"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(None, "done"), (Stopped(), "stopped"), (BadInput("No."), "failed"), (KeyError("x"), "broken")],
)
def test_a_run_is_counted_by_how_it_ended(error, outcome):
    work = Work()
    run = work.counted("compare", numbers)(threading.Event(), error)
    assert next(run) == 1 and work.running == 1
    assert samples(work.metrics)["quantlab_running",] == 1
    try:
        rest = list(run)
    except BaseException as raised:
        assert raised is error
    else:
        assert rest == [2]
    found = samples(work.metrics)
    assert {key[-1]: value for key, value in found.items() if key[0] == "quantlab_runs_total"} == {outcome: 1}
    assert work.running == 0 and found["quantlab_running",] == 0
    assert found["quantlab_run_seconds_count", "compare"] == 1


def test_a_visitor_who_leaves_stopped_his_run_and_what_a_job_returns_comes_through():
    work, stop = Work(), threading.Event()
    run = work.counted("compare", numbers)(stop)
    next(run)
    run.close()
    told = work.counted("compare", numbers)(stop)
    stop.set()
    assert list(told) == [1, 2]
    assert samples(work.metrics)["quantlab_runs_total", "compare", "stopped"] == 2

    def outer():
        return (yield from work.counted("quantize", numbers)(threading.Event()))

    walk = outer()
    with pytest.raises(StopIteration) as end:
        for _ in range(3):
            next(walk)
    assert end.value.value == "the end"


def test_loads_and_errors_are_those_of_the_events():
    work = Work()
    job = work.counted("compare", services(Script(0, 0, failing=("nf4",))).compare)
    loads = [event.load.load_origin for event in job(ASKED) if isinstance(event, Loaded)]
    found = samples(work.metrics)
    for origin in set(loads) - {"memory"}:
        assert found["quantlab_loads_total", origin] == loads.count(origin)
    assert found["quantlab_column_errors_total",] == 1
    event = next(it for it in services(Script(0, 0)).compare(ASKED) if isinstance(it, Loaded))
    work.metrics.saw(replace(event, load=replace(event.load, load_origin="memory")))
    assert ("quantlab_loads_total", "memory") not in samples(work.metrics)


def test_who_asks_too_often_is_refused_before_anything_runs():
    begun: list[int] = []

    def too_often() -> None:
        raise Unavailable("That was too often.")

    def job():
        begun.append(1)
        yield 1

    work = Work(may=too_often)
    with pytest.raises(Unavailable, match="too often"):
        next(work.counted("compare", job)())
    assert samples(work.metrics)["quantlab_refused_total", "rate"] == 1 and not begun and not work.running


def test_waits_are_handed_in():
    metrics = Metrics()
    metrics.waited(2.5)
    found = samples(metrics)
    assert found["quantlab_wait_seconds_sum",] == 2.5 and found["quantlab_wait_seconds_count",] == 1


def test_at_the_end_nothing_new_begins_and_what_runs_may_end():
    work, go = Work(), threading.Event()

    def job(stop: threading.Event):
        yield 1
        go.wait(10)
        yield 2

    got: list[int] = []
    thread = threading.Thread(target=lambda: got.extend(work.counted("compare", job)(threading.Event())))
    thread.start()
    while not work.running:
        pass
    threading.Timer(0.2, go.set).start()
    assert work.end(10) and got == [1, 2]
    with pytest.raises(Unavailable, match="begins nothing new"):
        next(work.counted("compare", job)(threading.Event()))
    assert samples(work.metrics)["quantlab_refused_total", "ending"] == 1


def test_what_does_not_end_is_told_to_stop():
    work, stop = Work(), threading.Event()

    def job(stop: threading.Event):
        yield 1
        stop.wait(10)

    thread = threading.Thread(target=lambda: list(work.counted("compare", job)(stop=stop)))
    thread.start()
    while not work.running:
        pass
    assert not work.end(0.1) and stop.is_set() and why(stop) == SERVER_ENDS
    thread.join(5)
    assert work.running == 0


def test_answers_on_their_way_out_are_waited_for():
    left = iter([True, True, False, False])
    assert Work().end(5, lambda: next(left))
    assert next(left) is False


def test_waits_and_full_queues_of_the_page_are_told():
    work = Work()
    turns = real_services(AppSettings(public=False, queue_size=1), work).turns
    turns.enter("first", "compare")
    turns.enter("second", "compare")
    with pytest.raises(QuantlabError):
        turns.enter("third", "compare")
    found = samples(work.metrics)
    assert found["quantlab_wait_seconds_count",] == 1 and found["quantlab_refused_total", "full"] == 1

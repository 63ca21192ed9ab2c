"""The bar in a notebook: drawn where a kernel runs, from the events as they come, and never in their way."""

import sys
from types import SimpleNamespace

import pytest

import quantlab
from quantlab.records import events
from quantlab.runs import notebook
from quantlab.runs.notebook import bar
from tests.examples import example_comparison

COMPARISON = example_comparison(("fp32", "int8"))
EVENTS = (
    events.Loading("", 0, 0, "reading"),
    events.Started(("fp32", "int8"), "fp32", (1,), ("<s>",), COMPARISON.model),
    events.Token("fp32", 4, 7, "<b>"),
    events.TimingAgain("fp32", 2),
    *(events.Finished(run) for run in COMPARISON.runs),
    events.ReferenceMoved("int8", "<i>why</i>"),
    events.TriedAgain("int8", "<u>tried again</u>"),
    events.Done(COMPARISON),
)


class Drawn(list):
    """Stands in for IPython: what was displayed, and what was put in its place."""

    def display(self, html, display_id=None):
        assert display_id is True
        self.append(html)
        return SimpleNamespace(update=self.append)


@pytest.fixture
def kernel(monkeypatch) -> Drawn:
    drawn = Drawn()
    shell = SimpleNamespace(kernel=object())
    shown = SimpleNamespace(HTML=str, display=drawn.display)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell, display=shown))
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    monkeypatch.setattr(bar, "_EVERY_S", 0.0)
    return drawn


def job(model, precisions, prompt, settings=None):
    yield from EVENTS


def test_events_are_handed_on_and_drawn(kernel):
    settings = quantlab.Settings(max_new_tokens=8)
    assert tuple(notebook._with_bar(job)("demo", ["fp32"], "Hello", settings)) == EVENTS
    told = "\n".join(kernel)
    assert "fp32 (1 of 2)" in told and 'value="5" max="8"' in told and "timing again, 2 answers" in told
    assert "fp32, int8" in kernel[-1] and "done in" in kernel[-1] and "failed: int8" in kernel[-1]
    assert "&lt;i&gt;why" in kernel[-1] and "&lt;u&gt;tried" in kernel[-1] and "<i>" not in told


def test_one_that_ends_early_says_so(kernel):
    stream = notebook._with_bar(job)("demo", ["fp32"], "Hello")
    for _ in range(3):
        next(stream)
    stream.close()
    assert "ended in" in kernel[-1]

    def fails(model, precisions, prompt, settings=None):
        yield EVENTS[0]
        raise quantlab.BadInput("No.")

    with pytest.raises(quantlab.BadInput):
        list(notebook._with_bar(fails)("demo", [], ""))
    assert "ended in" in kernel[-1]


def test_drawing_waits_between_two_of_many(kernel, monkeypatch):
    monkeypatch.setattr(bar, "_EVERY_S", 3600.0)
    list(notebook._with_bar(job)("demo", ["fp32"], "Hello"))
    assert len(kernel) == 2


@pytest.mark.parametrize("shell", [None, SimpleNamespace()], ids=["python", "terminal"])
def test_without_a_notebook_nothing_changes(monkeypatch, shell):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(notebook, "Bar", None)
    assert not bar.in_notebook()
    assert tuple(notebook._with_bar(job)("demo", ["fp32"], "Hello")) == EVENTS


def test_quality_is_told_by_stage(kernel):
    drawn = bar.Bar()
    drawn.tell(events.QualityStarted(("fp32",), "fp32", None, COMPARISON.model))
    drawn.tell(events.Measuring("fp32", "text", 3, 40, "tokens", 12.0))
    assert "reading the text, 12.0 s left" in kernel[-1] and 'value="3" max="40"' in kernel[-1]


@pytest.mark.slow
def test_the_public_functions_draw_in_a_notebook(kernel):
    *_, done = quantlab.compare("demo", ["fp32"], "Tell me a story.", quantlab.Settings(max_new_tokens=4))
    assert isinstance(done, quantlab.Done) and "done in" in kernel[-1] and "fp32" in kernel[-1]

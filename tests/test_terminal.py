"""The command line's screen: progress, Ctrl-C, and the tables afterwards."""

import math
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from quantlab import terminal
from quantlab.errors import Stopped
from quantlab.events import Done, Event, Finished, Loading, Started, Token
from quantlab.records import Comparison, Model, Offer, Precision
from tests.examples import example_comparison


def events(comparison: Comparison) -> Iterator[Event]:
    names = tuple(run.precision for run in comparison.runs)
    yield Loading("", 5, 0, "model-00001-of-00002.safetensors [part]")
    yield Started(names, names[0], comparison.prompt_token_ids, comparison.prompt_tokens)
    for run in comparison.runs:
        yield Loading(run.precision, 1, 20, "model.layers.0.mlp")
        yield Token(run.precision, 0, 5, "Once")
        yield Finished(run)
    yield Done(comparison)


def shown(comparison: Comparison, width: int = 80) -> str:
    console = Console(file=StringIO(), width=width)
    terminal.show(comparison, console)
    return console.file.getvalue()


def test_following_gives_the_comparison_and_keeps_standard_output_free(capsys):
    comparison = example_comparison()
    assert terminal.follow(events(comparison), threading.Event()) is comparison
    assert capsys.readouterr().out == ""


def test_the_first_interrupt_stops_and_keeps_what_there_is():
    stop, comparison = threading.Event(), example_comparison()
    before = signal.getsignal(signal.SIGINT)

    def interrupted() -> Iterator[Event]:
        for i, event in enumerate(events(comparison)):
            if i == 4:
                signal.raise_signal(signal.SIGINT)  # as Ctrl-C does, inside whatever runs
                assert stop.is_set()
            yield event

    assert terminal.follow(interrupted(), stop) is comparison
    assert stop.is_set() and signal.getsignal(signal.SIGINT) is before


def test_the_second_interrupt_ends_at_once():
    stop = threading.Event()
    stop.set()

    def interrupted() -> Iterator[Event]:
        signal.raise_signal(signal.SIGINT)
        yield Loading("fp32", 0, 0, "")

    with pytest.raises(KeyboardInterrupt):
        terminal.follow(interrupted(), stop)


def test_events_that_end_without_a_comparison_were_stopped():
    with pytest.raises(Stopped):
        terminal.follow(iter([Loading("", 0, 0, "")]), threading.Event())


def test_following_works_outside_the_main_thread():
    comparison, found = example_comparison(), []
    thread = threading.Thread(target=lambda: found.append(terminal.follow(events(comparison), threading.Event())))
    thread.start()
    thread.join()
    assert found == [comparison]


def test_the_answers_and_the_figures_fit_80_columns():
    comparison = example_comparison()
    text = shown(comparison)
    assert max(map(len, text.splitlines())) <= 80
    for run in comparison.runs:
        assert run.precision in text
    flat = " ".join(text.split())
    assert "fp32 (reference)" in flat
    assert "parts from the reference at token" in flat
    assert "This precision needs 9.8 GB and 6.1 GB are free. Choose one with fewer bits." in flat
    assert "(stopped)" in flat and "20.0 GB/s" in flat
    assert "The kernel keeps its scales in bfloat16" in flat


def test_text_of_a_model_is_text_and_no_markup():
    comparison = example_comparison(("fp32",), errors={}, stopped=None)
    text = "[bold]not bold[/] [red] \\[x] \\"
    assert text in shown(replace(comparison, runs=(replace(comparison.runs[0], text=text),)), width=200)


def test_random_weights_and_races_are_labelled():
    comparison = example_comparison(race=True)
    shape = replace(comparison, model=Model("shape:bench-100m", "shape", None))
    assert "the text means nothing" in shown(shape) and "do not count" in shown(shape)
    assert "means nothing" not in shown(comparison)


def test_figures_that_are_not_numbers_or_not_there_are_shown():
    comparison = example_comparison(("fp32", "nf4"), errors={}, stopped=None)
    reference, other = comparison.runs
    other = replace(other, differences=(replace(other.differences[0], kld=math.nan),))
    machine = replace(comparison.machine, bandwidth=None)
    text = shown(replace(comparison, runs=(replace(reference, timing=None, peak=None), other), machine=machine))
    assert "nan" in text.casefold() and "GB/s" not in text


def test_offers_say_what_fits_and_why_not():
    chosen = Precision("nf4", "bitsandbytes", 4.5, "4-bit normal float")
    offers = [
        Offer(chosen, None, 4_000_000_000, 8_000_000_000),
        Offer(replace(chosen, name="fp32"), None, 16_000_000_000, 8_000_000_000),
        Offer(replace(chosen, name="int8"), "needs the package [bitsandbytes]", None, 8_000_000_000),
        Offer(replace(chosen, name="fp4"), None, None, 8_000_000_000),
    ]
    console = Console(file=StringIO(), width=140)
    terminal.show_offers(offers, console)
    rows = {line.split()[1]: line for line in console.file.getvalue().splitlines() if "4-bit normal" in line}
    assert "yes" in rows["nf4"] and "4.00 GB" in rows["nf4"]
    assert " no " in rows["fp32"] and "?" in rows["fp4"]
    assert "no: needs the package [bitsandbytes]" in rows["int8"]

"""What models, files and other people write is shown on a terminal and never obeyed by it."""

import io
import time

import pytest
from rich.table import Table

from quantlab import cli
from quantlab.cli import render
from quantlab.cli.render.progress import Line
from quantlab.cli.render.screen import Screen, visible
from quantlab.errors import BadInput
from tests.examples import example_comparison as example

CLEAR = "\x1b[2J\x1b]0;owned\x07"
STEERING = ("\x1b", "\x07", "\x9b", "\r", "\x08", "\u202e", "\u2066", "\x00", "\x7f")


@pytest.mark.parametrize("char", STEERING)
def test_each_is_made_visible(char):
    assert char not in visible(f"a{char}b") and visible(f"a{char}b")[0::2] == "ab"


def test_words_lines_and_other_scripts_stay_as_they_are():
    text = "naïve — 東京\n\tПривет 🙂 שלום 'x' [bold]"
    assert visible(text) == text


def written(show) -> str:
    out = io.StringIO()
    show(Screen(file=out, width=100))
    return out.getvalue()


def test_printed_in_a_table_or_as_markup():
    def show(screen: Screen) -> None:
        screen.print(f"[bold]{CLEAR}[/]")
        table = Table(title=CLEAR)
        table.add_column(CLEAR)
        table.add_row(CLEAR)
        screen.print(table)

    assert "\x1b" not in written(show) and written(show).count("␛") >= 4


def test_an_answer_and_a_models_name_in_a_comparison():
    from dataclasses import replace

    shown = example()
    runs = tuple(replace(run, text=CLEAR, error=None) for run in shown.runs)
    evil = replace(shown, runs=runs, model=replace(shown.model, name=f"m{CLEAR}"), prompt=CLEAR)
    assert "\x1b" not in written(lambda screen: render.show(evil, screen))


def test_an_error_on_standard_error(monkeypatch, capsys):
    def broken(_arguments):
        raise BadInput(f"bad {CLEAR}", f"do {CLEAR}")

    monkeypatch.setitem(cli.VERBS, "models", broken)
    assert cli.main(["models"]) == cli.REFUSED
    told = capsys.readouterr().err
    assert "\x1b" not in told and told.count("␛") == 4


def test_what_is_under_way(capsys):
    with Line("x") as line:
        line.tell(CLEAR, 1, 2, CLEAR)
        line.warn(CLEAR)
    assert "\x1b]0;owned" not in capsys.readouterr().err


def test_logits_that_are_no_numbers_are_said():
    """All weights were NaN and the answers empty, and nobody was told."""
    from dataclasses import replace

    shown = example()
    broken = replace(shown.runs[1], nonfinite=2_048)
    told = written(lambda screen: render.show(replace(shown, runs=(shown.runs[0], broken)), screen))
    assert f"{broken.precision}: 2,048 of its logits were infinite or not a number" in " ".join(told.split())
    assert "not a number" not in written(lambda screen: render.show(shown, screen))


def test_a_word_as_long_as_a_book_is_written_at_once():
    from dataclasses import replace

    word = "a" * 300_000
    shown = example()
    long = replace(shown, runs=tuple(replace(run, text=f"b {word} c") for run in shown.runs))
    begun = time.perf_counter()
    told = written(lambda screen: render.show(long, screen))
    assert time.perf_counter() - begun < 5 and told.count(word) == sum(not run.error for run in long.runs)

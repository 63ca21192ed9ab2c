"""The command line's screen: progress, Ctrl-C, and the tables afterwards."""

import json
import math
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from quantlab.checkpoints.store import MANIFEST, CheckpointStore
from quantlab.cli import render
from quantlab.cli.render.progress import Line
from quantlab.cli.render.tables import broken
from quantlab.errors import Stopped
from quantlab.measure import trust
from quantlab.records import Comparison, Estimate, Model, Peak, Precision
from quantlab.records.events import (
    Done,
    Event,
    Finished,
    Loading,
    Measured,
    Measuring,
    NotKept,
    QualityDone,
    QualityStarted,
    Started,
    TimingAgain,
    Token,
)
from tests.examples import QUIET, example_comparison
from tests.quality_examples import quality


def events(comparison: Comparison) -> Iterator[Event]:
    names = tuple(run.precision for run in comparison.runs)
    yield Loading("", 5, 0, "model-00001-of-00002.safetensors [part]")
    yield Started(names, names[0], comparison.prompt_token_ids, comparison.prompt_tokens, comparison.model)
    for run in comparison.runs:
        yield Loading(run.precision, 1, 20, "model.layers.0.mlp")
        yield Token(run.precision, 0, 5, "Once")
        yield Finished(run)
    yield Done(comparison)


def shown(comparison: Comparison, width: int = 80) -> str:
    console = Console(file=StringIO(), width=width)
    render.show(comparison, console)
    return console.file.getvalue()


def test_following_gives_the_comparison_and_keeps_standard_output_free(capsys):
    comparison = example_comparison()
    assert render.follow(events(comparison), threading.Event()).comparison is comparison
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

    assert render.follow(interrupted(), stop).comparison is comparison
    assert stop.is_set() and signal.getsignal(signal.SIGINT) is before


def test_the_second_interrupt_ends_at_once():
    stop = threading.Event()
    stop.set()

    def interrupted() -> Iterator[Event]:
        signal.raise_signal(signal.SIGINT)
        yield Loading("fp32", 0, 0, "")

    with pytest.raises(KeyboardInterrupt):
        render.follow(interrupted(), stop)


def test_events_that_end_without_a_comparison_were_stopped():
    with pytest.raises(Stopped):
        render.follow(iter([Loading("", 0, 0, "")]), threading.Event())


def test_following_works_outside_the_main_thread():
    comparison, found = example_comparison(), []
    thread = threading.Thread(
        target=lambda: found.append(render.follow(events(comparison), threading.Event()).comparison)
    )
    thread.start()
    thread.join()
    assert found == [comparison]


def told(*steps: tuple[str, int, int, str]) -> list[str]:
    """The line of progress at each step, as a terminal of 80 columns shows it."""
    seen = []
    with Line("reading") as line:
        for step in steps:
            line.tell(*step)
            console = Console(file=StringIO(), width=80)
            console.print(line._progress.get_renderable())
            seen.append(console.file.getvalue().rstrip())
    return seen


def test_what_is_not_kept_is_said(capsys):
    comparison = example_comparison()
    told = (NotKept("The disk is full."), *events(comparison))
    assert render.follow(iter(told), threading.Event()).comparison is comparison
    assert "nothing more of this is kept. The disk is full." in capsys.readouterr().err


def test_without_a_terminal_each_stage_is_a_plain_line(capsys):
    comparison = example_comparison(("fp32", "int8", "nf4"), stopped="nf4")

    def every_tenth() -> Iterator[Event]:
        for event in events(comparison):
            yield event
            if isinstance(event, Token):
                yield from (Token(event.precision, i, 5, "Once") for i in range(1, 30))
                yield from (TimingAgain(event.precision, i) for i in (1, 2))

    render.follow(every_tenth(), threading.Event())
    told = capsys.readouterr().err
    fp32, nf4 = comparison.run("fp32"), comparison.run("nf4")
    assert told.splitlines() == [
        "getting the model",
        *("fp32: loading", "fp32: answering", "fp32: timing again", f"fp32: done, {trust.speed(fp32)}"),
        *("int8: loading", "int8: answering", "int8: timing again", "int8: failed"),
        *("nf4: loading", "nf4: answering", "nf4: timing again", f"nf4: stopped, {trust.speed(nf4)}"),
    ]
    assert all(char == "\n" or char.isprintable() for char in told) and "± 2 %" in told


def test_a_quality_run_without_a_terminal_tells_its_stages(capsys):
    example = quality(("fp32", "nf4"), errors={})
    stages = ("speed", "text", "layers")

    def told() -> Iterator:
        yield QualityStarted(("fp32", "nf4"), "fp32", example.text, example.model)
        for run in example.runs:
            yield Loading(run.precision, 1, 20, "layer")
            yield from (Measuring(run.precision, it, n, 9, "x", None) for it in stages for n in range(9))
            yield Measured(run)
        yield from (Measuring(name, "again", n, 2, "answers", None) for n in range(2) for name in ("fp32", "nf4"))
        yield QualityDone(example)

    assert render.follow_quality(told(), threading.Event()) is example
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2] for line in lines if line.startswith("nf4")] == [
        *("loading", "measuring its speed", "reading the text", "looking into its layers"),
        *("done, 373 tok/s ± 1 %", "timing again"),
    ]


def test_a_name_from_elsewhere_steers_no_log(capsys):
    with Line("reading") as line:
        line.stage("a\x1b[2Jb\nc: loading")
    assert capsys.readouterr().err == "a\u241b[2Jb c: loading\n"


def test_an_error_leaves_no_bar_that_stands_still(capsys):
    with pytest.raises(ValueError), Line("reading"):
        raise ValueError
    assert "reading" not in capsys.readouterr().err


def test_a_counter_never_passes_its_total():
    steps = [("load nf4", 3, 29, "layer 3"), ("load nf4", 29, 29, "layer 29"), ("nf4", 64, 0, "tokens")]
    loading, loaded, decoding = told(*steps)
    assert "3/29" in loading and "29/29" in loaded
    assert "/" not in decoding and decoding.endswith("64 tokens")
    passed, unknown = told(("quantizing", 30, 29, "more"), ("quantizing", 0, 0, "starting"))
    assert "29" not in passed and passed.endswith("30 more")
    assert unknown.endswith("starting") and not any(c.isdigit() for c in unknown)


def test_the_line_of_progress_fits_80_columns():
    long = ("load TinyLlama-1.1B-Chat-v1.0-GPTQ::q4_k_m", 12_345_678_901, 98_765_432_100, "model.layers.21.mlp." * 3)
    (line,) = told(long)
    assert "\n" not in line and len(line) <= 80 and "12,345,678,901/98,765,432,100" in line


def test_the_answers_and_the_figures_fit_80_columns():
    comparison = example_comparison()
    text = shown(comparison)
    assert max(map(len, text.splitlines())) <= 80
    for run in comparison.runs:
        assert run.precision in text
    flat = " ".join(text.split())
    assert "fp32 (reference)" in flat
    assert "first differs from the reference at token" in flat
    assert "This precision needs 9.8 GB and 6.1 GB are free. Choose one with fewer bits." in flat
    assert "(stopped)" in flat and "20.0 GB/s" in flat
    assert "The kernel keeps its scales in bfloat16" in flat


def test_no_cell_is_cut_in_80_columns():
    """Not the longest figures, and no name of a published checkpoint."""
    comparison = example_comparison(("fp32", "nf4"), errors={}, stopped=None)
    name = "TinyLlama-1.1B-Chat-v1.0-GPTQ::q4_k_m"
    reference, other = comparison.runs
    load = replace(other.load, load_s=1234.0, load_origin="built", stored_bytes=123_000_000, bits_per_weight=16.5)
    other = replace(
        other, precision=name, load=load, kv_cache_bytes=123_000_000, peak=Peak(resident=999_000_000),
        differences=tuple(replace(it, kld=1.23e-8) for it in other.differences),
    )  # fmt: skip
    text = shown(replace(comparison, runs=(reference, other)))
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    row = next(line for line in text.splitlines() if "built" in line and "1,230" in line)
    assert " ".join(row.split()[1:]) == "123 MB 16.5 ~999 MB 123 MB 1,230 s built"
    tables = text[text.index("bits/weight") :]
    assert name in "".join(line[:18].rstrip() for line in tables.splitlines())


@pytest.mark.parametrize("name", ["nf4", "gptq-4-g128-act", "TinyLlama-1.1B-Chat-v1.0-GPTQ::q4_k_m", "a" * 40, ""])
def test_a_name_is_broken_behind_its_hyphens(name):
    lines = broken(name, 18).split("\n")
    assert "".join(lines) == name and max(map(len, lines)) <= 18
    if "-" in name:
        assert all(line[-1] in "-_.:/@" for line in lines[:-1])


def test_kept_checkpoints_are_listed_with_names_that_can_be_copied(tmp_path):
    name = "SmolLM2-135M-Instruct--gptq-4-g128-act--0123456789abcdef"
    (tmp_path / name).mkdir()
    made = {"model": "m", "precision": "p", "build_s": 2.5, "built": "2026-01-01T00:00:00+00:00"}
    (tmp_path / name / MANIFEST).write_text(json.dumps(made))
    console = Console(file=StringIO(), width=40, soft_wrap=True)
    render.show_kept(CheckpointStore(tmp_path, 10**9), 5 * 10**6, console)
    lines = console.file.getvalue().splitlines()
    assert (
        name in lines and "made in 2.50 s" in lines[-2] and "5.00 MB" in lines[-1] and "of at most 1.00 GB" in lines[0]
    )


def test_text_of_a_model_is_text_and_no_markup():
    comparison = example_comparison(("fp32",), errors={}, stopped=None)
    text = "[bold]not bold[/] [red] \\[x] \\"
    assert text in shown(replace(comparison, runs=(replace(comparison.runs[0], text=text),)), width=200)


def test_the_fastest_is_named_where_the_speeds_bear_it_and_else_the_reason_is():
    quiet = example_comparison(("fp32", "nf4"), errors={}, stopped=None)
    assert f"Fastest: fp32, {trust.speed(quiet.run('fp32'))} in 3 answers." in " ".join(shown(quiet).split())
    busy = replace(QUIET, others_s=2.1)
    disturbed = replace(quiet, runs=(quiet.runs[0], replace(quiet.runs[1], cpu=busy)))
    told = " ".join(shown(disturbed).split())
    assert "Fastest" not in told and "nf4: the machine was busy: other programs took 1.4 of 2 cores" in told
    assert "Fastest" not in shown(example_comparison(race=True))


def test_figures_of_a_few_positions_are_marked():
    short = shown(example_comparison(("fp32", "nf4"), errors={}, stopped=None, count=7))
    assert "* from 7 positions only: says little" in short and "%*" in short
    assert "*" not in shown(example_comparison(("fp32", "nf4"), errors={}, stopped=None))


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
        Estimate(chosen, None, 4_000_000_000, 8_000_000_000),
        Estimate(replace(chosen, name="fp32"), None, 16_000_000_000, 8_000_000_000),
        Estimate(replace(chosen, name="int8"), "needs the package [bitsandbytes]", None, 8_000_000_000),
        Estimate(replace(chosen, name="fp4"), None, None, 8_000_000_000),
    ]
    console = Console(file=StringIO(), width=140)
    render.show_estimates(offers, "bfloat16", console)
    rows = {line.split()[0]: line for line in console.file.getvalue().splitlines() if "4-bit normal" in line}
    assert "yes" in rows["nf4"] and "4.00 GB" in rows["nf4"]
    assert " no " in rows["fp32"] and "?" in rows["fp4"]
    assert "4.50" in rows["nf4"] and "4.50" not in rows["int8"]
    assert "counts in bfloat16, the compute type" in " ".join(console.file.getvalue().split())
    assert " no " in rows["int8"] and "Not here: it needs the package [bitsandbytes]" in rows["int8"]


def test_a_quality_run_fits_80_columns_and_says_where_the_error_arises():
    console = Console(file=StringIO(), width=80)
    example = quality()
    render.show_quality(example, 0.05, console=console)
    told = console.file.getvalue()
    assert all(len(line) <= 80 for line in told.splitlines()) and "\u2026" not in told
    worst = max(example.run("nf4").layers, key=lambda error: error.isolated)
    assert f"layer {worst.layer}, {worst.module}" in " ".join(told.split())


def test_without_a_terminal_long_steps_are_told_now_and_then(capsys, monkeypatch):
    from quantlab.cli.render import progress

    clock = iter(range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))

    def work():
        for at in range(8):
            yield at, 8, f"layer {at}"
        return "made"

    assert progress.follow_steps(work(), threading.Event(), "quantizing") == "made"
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "quantizing" and told[1].startswith("quantizing: layer ")
    assert 3 <= len(told) <= 5, told  # a step takes a second here, and a line is told every two


def test_what_was_in_memory_has_no_time_of_loading():
    comparison = example_comparison(("fp32", "nf4"), errors={}, stopped=None)
    reference, other = comparison.runs
    held = replace(other, load=replace(other.load, load_s=3.56e-5, load_origin="memory"))
    text = shown(replace(comparison, runs=(reference, held)))
    assert "in memory" in text and "35.6" not in text


def test_layers_of_the_references_own_weights_have_no_error_to_tell():
    console = Console(file=StringIO(), width=80)
    example = quality()
    none = tuple(replace(it, isolated=0.0, propagated=0.0) for it in example.run("nf4").layers)
    runs = tuple(replace(run, layers=none) if run.precision == "nf4" else run for run in example.runs)
    render.show_quality(replace(example, runs=runs), 0.05, console=console)
    told = " ".join(console.file.getvalue().split())
    assert "nf4: its weights are the reference's, so no layer makes an error" in told
    assert "nf4: the largest error of its own" not in told

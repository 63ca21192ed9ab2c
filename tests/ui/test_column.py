"""A column's HTML: what it says, and that nothing from outside becomes markup."""

import re
from dataclasses import replace

import pytest

from quantlab.records import Candidate, Divergence, Model, Run, Settings
from quantlab.records.events import TimingAgain
from quantlab.reporting.charts.registry import COMPARISON
from quantlab.ui.common import fragments, panels, picker
from quantlab.ui.common.precision_list import PrecisionList, Row
from quantlab.ui.common.problem import Problem
from quantlab.ui.compare.column import render
from quantlab.ui.compare.view import Column, View, fold
from quantlab.ui.history import fragments as history
from tests.examples import QUIET
from tests.fake_estimates import fake_estimates, precision
from tests.fakes import Script, fake_compare
from tests.fakes import _load as fake_load
from tests.ui.markup import EVIL, Tags, harmless


def final(*precisions: str, failing: tuple[str, ...] = (), prompt: str = "Hello there") -> View:
    view = View()
    for event in fake_compare("demo", precisions, prompt, Settings(), script=Script(0, 0, failing)):
        view = fold(view, event)
    return view


def html(view: View, index: int) -> str:
    return render(view.columns[index], view, colour="#123456", new_tokens=64)


def test_the_reference_says_that_it_is_one():
    assert '<span class="badge">reference</span>' in html(final("fp32", "nf4"), 0)
    assert "reference</span>" not in html(final("fp32", "nf4"), 1)


def test_differences_are_marked_by_elements_with_a_meaning():
    found = html(final("fp32", "nf4"), 1)
    assert "<ins" in found and "<del" in found and "First differs from fp32 at token 41" in found
    assert found.count('class="top"') == 2 and "46 %" in found


def test_equal_answers_say_so():
    found = html(final("fp32", "bf16"), 1)
    assert "<ins" not in found and "token for token" in found


def test_the_end_of_text_token_is_no_difference():
    view = final("fp32", "bf16")
    runs = [replace(c.run, tokens=(*c.run.tokens, "<|end|>")) for c in view.columns]
    ended = [replace(c, run=run) for c, run in zip(view.columns, (view.columns[0].run, runs[1]), strict=True)]
    found = html(replace(view, columns=tuple(ended)), 1)
    assert "end|" not in found and "<ins" not in found


def test_figures_have_units_and_the_exact_value():
    found = html(final("fp32", "nf4"), 1)
    assert "1.12 MB" in found and 'title="1,125,000 bytes"' in found
    assert "tok/s" in found and "13.0 ms" in found and "4.50" in found


def test_a_speed_has_its_spread_and_the_answer_its_own_figures():
    run = final("fp32", "nf4").columns[1].run
    text = Tags(html(final("fp32", "nf4"), 1)).text
    assert "tok/s ± 2 %" in text and "13.0 ms ± 2 %" in text
    assert "Speed, this answer" in text and "First token, this answer" in text and "not compared" not in text
    assert "median of 3 answers" in html(final("fp32", "nf4"), 1) and len(run.decode_samples) == 3


def with_run(view: View, **figures) -> View:
    columns = (replace(one, run=replace(one.run, **figures)) for one in view.columns)
    return replace(view, columns=tuple(columns))


def test_a_speed_that_bears_no_claim_says_why():
    view = final("fp32", "nf4")
    busy = with_run(view, cpu=replace(QUIET, others_s=2.1))
    assert "not compared with others: the machine was busy: other programs took 1.4 of 2 cores" in html(busy, 1)
    old = with_run(view, ttft_samples=(), decode_samples=(), cpu=None)
    assert "not compared with others: only one answer was timed" in html(old, 1) and "Speed, this answer" not in html(
        old, 1
    )
    few = with_run(view, differences=view.columns[1].run.differences[:7])
    assert "are from 7 positions only: says little" in html(few, 1) and "positions only" not in html(view, 1)


def test_a_column_that_is_timed_again_shows_its_answer():
    view = View()
    for event in fake_compare("demo", ("fp32",), "Hello", Settings(max_new_tokens=8), script=Script(0, 0)):
        view = fold(view, event)
        if isinstance(event, TimingAgain):
            break
    text = Tags(html(view, 0)).text
    assert "timing again · 8 tokens" in text and "Mira Toll" in text
    assert "Timing again: fp32 (1 of 1)." in fragments.status(view, running=True)


def cut_view(limit: int, *names: str) -> View:
    view = View()
    for event in fake_compare("demo", names, "Hello", Settings(max_new_tokens=limit), script=Script(0, 0)):
        view = fold(view, event)
    return view


def test_an_answer_that_was_cut_says_where():
    found = html(cut_view(8, "fp32", "nf4"), 0)
    assert '<span class="faint cut"> … stopped at 8 tokens</span></div>' in found
    assert "stopped at 8 tokens" in html(cut_view(8, "fp32", "nf4"), 1), "also where differences are marked"
    assert "… stopped at 1 token<" in html(cut_view(1, "fp32"), 0)
    assert "… stopped at" not in html(cut_view(1_000, "fp32", "nf4"), 0), "it ended by itself"


def test_in_the_history_an_answer_is_cut_by_its_own_limit():
    whole, cut = cut_view(1_000, "fp32", "nf4").comparison, cut_view(8, "fp32", "nf4").comparison
    assert "stopped at" not in history.answers(whole)
    assert history.answers(cut).count("… stopped at 8 tokens") == 2


def test_an_answer_with_code_has_letters_of_one_width():
    view = final("fp32", "nf4")
    fenced = "Here:\n```python\nprint(1)\n```"
    coded = replace(view.columns[0], text=fenced, run=replace(view.columns[0].run, text=fenced))
    assert " is-code" in html(replace(view, columns=(coded, view.columns[1])), 0)
    assert " is-code" not in html(view, 0)


def test_what_really_ran_is_named():
    text = Tags(html(final("fp32", "nf4-dq"), 1)).text
    assert "bfloat16" in text and "bitsandbytes gemv_4bit (CPU)" in text
    assert "undoes double quantization" in text and "Weights while running" in text and "Peak (estimate)" in text


@pytest.mark.parametrize("state", ["waiting", "loading", "warming", "writing", "done"])
def test_the_rows_of_figures_never_change(state):
    view = View((Column("fp32", state="done"), Column("nf4", state=state, done=3, total=9)), reference="fp32")
    markup = html(view, 1)
    assert Tags(markup).names.count("tr") == 6
    assert 'class="answer"' in markup and 'class="parting"' in markup and 'class="bar"' in markup


def test_loading_shows_tensors_not_a_spinner():
    view = View((Column("nf4", state="loading", done=3, total=9, what="layers.0.weight"),), reference="nf4")
    assert "loading · 33 %" in html(view, 0) and 'max="9" value="3"' in html(view, 0)


def test_a_waiting_column_says_what_for():
    view = View((Column("fp32", state="writing"), Column("nf4")), reference="fp32")
    assert "waits for fp32" in html(view, 1)
    # Which one is the reference is known once all are checked.
    assert "The first difference will appear here." in html(View((Column("nf4"),)), 0)


def test_a_failed_variant_is_a_card_with_advice():
    text = Tags(html(final("fp32", "nf4", failing=("nf4",)), 1)).text
    assert "nf4 does not fit" in text and "Choose one with fewer bits." in text


def test_a_variant_stopped_before_its_first_token_does_not_claim_to_agree():
    view = final("fp32", "nf4")
    stopped = Column("nf4", state="stopped", run=Run("nf4", stopped=True))
    text = Tags(html(replace(view, columns=(view.columns[0], stopped)), 1)).text
    assert "Stopped before it answered" in text and "token for token" not in text


def test_random_weights_are_labelled_meaningless():
    view = replace(final("fp32", "nf4"), model=Model("shape:bench-100m", "shape", None))
    assert all("text meaningless" in html(view, i) for i in (0, 1)) and "mean" in fragments.legend(view)


@pytest.mark.parametrize(
    ("description", "told"),
    [
        ("bundled: small", "<b>Bundled: small.</b> "),
        ("a real one. Its weights are packed. So be it.", "<b>A real one.</b> Its weights are packed. So be it. "),
        ("", ""),
    ],
)
def test_of_a_model_the_first_sentence_stands_out_and_ends_once(description, told):
    assert fragments.about_model(description, "K.") == f'<p class="about-model">{told}<span class="faint">K.</span></p>'


def evil_run(**more) -> Run:
    load = replace(
        fake_load(precision("nf4"), Script()), kernel=EVIL, compute_dtype=EVIL, notes=(EVIL,), details={EVIL: EVIL}
    )
    top = (Candidate(1, EVIL, 0.5), Candidate(2, "", 0.1))
    return Run(
        EVIL,
        text=EVIL,
        token_ids=(1, 2),
        tokens=(EVIL, " x"),
        load=load,
        first_divergence=Divergence(1, top, top),
        **more,
    )


@pytest.mark.parametrize("state", ["waiting", "loading", "writing", "done", "failed", "stopped"])
def test_nothing_of_a_model_becomes_markup(state):
    run = evil_run(error=EVIL, advice=EVIL) if state == "failed" else evil_run()
    ended = run if state in ("done", "failed", "stopped") else None
    reference = Column("fp32", state="done", run=Run("fp32", text="x", token_ids=(3,), tokens=("x" + EVIL,)))
    column = Column(EVIL, state=state, text=EVIL, what=EVIL, done=1, total=2, load=run.load, run=ended)
    view = View((reference, column), reference="fp32")
    harmless(render(column, view, colour='"><img src=x>', new_tokens=8))


EVIL_OFFER = replace(fake_estimates("demo", None)[0], unavailable=EVIL, group=EVIL)
EVIL_OFFERED = PrecisionList(
    (EVIL_OFFER,), (Row(f"a/{EVIL}", replace(EVIL_OFFER, precision=replace(precision("nf4"), name=EVIL))),)
)


def test_nothing_becomes_markup_around_the_columns():
    comparison, chart = final("fp32").comparison, replace(COMPARISON[0], title=EVIL, caption=EVIL)
    view = View(
        (Column(EVIL, state="writing"), Column("b")), EVIL, (1,), (EVIL,), notice=EVIL, problem=Problem(EVIL, EVIL)
    )
    for markup in (
        fragments.prompt_tokens(view),
        fragments.legend(view),
        fragments.status(view, running=True),
        fragments.problem(view.problem),
        fragments.about_model(EVIL, EVIL),
        fragments.said(EVIL),
        picker.rows(EVIL_OFFERED),
        fragments.added(Problem(EVIL, EVIL)),
        fragments.added_row(EVIL_OFFERED.added[0], full=False),
        fragments.saving(1, 2, EVIL),
        fragments.saved(EVIL, 1, 1.0, True),
        fragments.caution(EVIL),
        fragments.replayed(replace(comparison, machine=replace(comparison.machine, cpu=EVIL))),
        panels.tabs([chart]),
        panels.head(chart),
    ):
        harmless(markup)


def test_table_twins_are_real_tables_and_escape_their_cells():
    comparison = final("fp32", "nf4").comparison
    evil = replace(comparison, runs=(comparison.runs[0], replace(comparison.runs[1], precision=EVIL)))
    for chart in COMPARISON:
        assert chart.has(comparison)
        markup = panels.twins(chart.drawn(evil)[1])
        harmless(markup)
        assert {"table", "caption", "thead", "th"} <= set(Tags(markup).names) and 'scope="col"' in markup


LOAD = fake_load(precision("gptq-4"), Script(load_s=0.3))


@pytest.mark.parametrize(
    ("load", "line"),
    [
        (None, ""),
        (LOAD, "read from disk in 300 ms; quantizing had taken 5.20 s"),
        (replace(LOAD, load_origin="built"), "quantized in 5.20 s, ready after 300 ms"),
        (replace(LOAD, load_origin="memory"), "was in memory already"),
        (fake_load(precision("nf4"), Script(load_s=0.3)), "read and quantized in 300 ms"),
        (fake_load(precision("fp32"), Script(load_s=0.3)), "read in 300 ms"),
        (replace(LOAD, build_s=None), "read in 300 ms"),
    ],
)
def test_the_load_line_tells_origin_and_both_times(load, line):
    view = View((Column("x", state="warming", load=load),), reference="x")
    assert f'<p class="load-line">{line}</p>' in html(view, 0)


def test_what_is_stored_is_listed_with_the_figures():
    text = Tags(html(final("fp32", "gptq-4"), 1)).text
    assert "What is stored" in text and "quantized bygptqmodel 7.6.0" in text and "Quantizing took5.20 s" in text


def test_a_build_tells_its_layer_and_the_time_left():
    what = "layer 3 of 22, about 40 s left"
    view = View((Column("gptq-4", state="loading", done=3, total=22, what=what),), reference="gptq-4")
    assert (
        what in Tags(html(view, 0)).text and "loading · 14 %" in html(view, 0) and 'max="22" value="3"' in html(view, 0)
    )


def test_every_link_to_a_definition_has_one():
    view = View()
    for event in fake_compare("demo", ("fp32", "int8", "nf4"), "Hello", Settings(max_new_tokens=4)):
        view = fold(view, event)
    html = "".join(render(column, view, colour="#000000", new_tokens=4) for column in view.columns)
    anchors = set(re.findall(r'class="define" href="#([^"]+)"', html))
    assert len(anchors) >= 10
    assert not anchors - set(re.findall(r'<a id="([^"]+)">', fragments.definitions()))

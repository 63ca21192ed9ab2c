"""In the quality tab and in the history nothing from elsewhere becomes markup, of HTML or of a template."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from quantlab.fidelity.tasks import BundledTask
from quantlab.history import Entry
from quantlab.records import Comparison, Load, Quality, TextFacts
from quantlab.records.events import QualityDone, QualityStarted
from quantlab.reporting.advice import Advice
from quantlab.reporting.advice.pairs import Pair
from quantlab.reporting.advice.recipes import Block, Recipe
from quantlab.ui.history import entry_list, side_by_side
from quantlab.ui.history import fragments as history
from quantlab.ui.quality import fragments, table
from quantlab.ui.quality.view import QualityView, Step, Variant, fold
from tests.examples import example_comparison
from tests.quality_examples import quality
from tests.ui.markup import EVIL, Tags, harmless

ENTRY = Entry(7, "comparison", "stopped", EVIL, EVIL, (EVIL, "b"), (), datetime(2026, 1, 2, tzinfo=UTC), None, (EVIL,))


def evil_load(load: Load | None) -> Load | None:
    return load and replace(load, kernel=EVIL, compute_dtype=EVIL, notes=(EVIL,), details={EVIL: EVIL})


def evil_comparison() -> Comparison:
    record = example_comparison(count=3)
    runs = [replace(run, precision=f"{run.precision}{EVIL}", load=evil_load(run.load)) for run in record.runs]
    runs = [replace(run, error=EVIL, advice=EVIL) if run.error else replace(run, text=EVIL) for run in runs]
    return replace(
        record, runs=tuple(runs), reference=runs[0].precision, prompt=EVIL, versions={EVIL: EVIL},
        model=replace(record.model, name=EVIL, kind="hub", revision=None),
        machine=replace(record.machine, cpu=EVIL, system=EVIL, device=EVIL),
        prompt_tokens=(EVIL,) * len(record.prompt_tokens),
    )  # fmt: skip


def evil_quality() -> Quality:
    record = quality(("fp32", "int8", "nf4"))
    runs = [
        replace(
            run, precision=f"{run.precision}{EVIL}", notes=(EVIL,), load=evil_load(run.load),
            tasks=dict(zip((EVIL,), run.tasks.values(), strict=False)),
            error=run.error and EVIL, advice=run.error and EVIL,
        )
        for run in record.runs
    ]  # fmt: skip
    return replace(
        record, runs=tuple(runs), reference=runs[0].precision, floor=EVIL, versions={EVIL: EVIL},
        text=replace(record.text, name=EVIL), model=replace(record.model, name=EVIL, kind="hub", revision=None),
        machine=replace(record.machine, cpu=EVIL),
    )  # fmt: skip


def of_the_history() -> Iterator[str]:
    comparison, measured = evil_comparison(), evil_quality()
    yield entry_list.rows([ENTRY, ENTRY], searched=False, more=True)
    yield history.head(None, ENTRY, False)
    for record in (comparison, measured):
        yield history.head(record, None, False)
        yield history.head(record, ENTRY, True)
        yield side_by_side.render(record, record)
    yield side_by_side.render(comparison, example_comparison(count=3))
    yield side_by_side.render(measured, quality(("fp32",)))
    yield history.answers(comparison)
    yield history.figures(measured)
    yield history.listed((EVIL, "b"))


def of_the_quality_tab() -> Iterator[str]:
    measured = evil_quality()
    names = tuple(run.precision for run in measured.runs)
    started = QualityStarted(names, measured.reference, measured.text, measured.model)
    yield table.render(QualityView((Variant(EVIL), Variant("b")), tasks=(EVIL,)))
    yield table.render(fold(QualityView(tasks=(EVIL,)), started, 0.0))
    yield table.render(fold(fold(QualityView(tasks=(EVIL,)), started, 0.0), QualityDone(measured), 0.0))
    yield fragments.describe_tasks([BundledTask(EVIL, EVIL)])
    yield fragments.status(QualityView(notice=EVIL), running=False)
    yield fragments.progress(QualityView((Variant(EVIL),), step=Step(EVIL, "loading", what=EVIL)))
    yield fragments.advice(Advice(None, None, (), (), (EVIL,), (EVIL,), (Pair("a", "b", None, None, EVIL),), (EVIL,)))
    yield fragments.to_run([Recipe(EVIL, EVIL, (Block("sh", EVIL, EVIL),))])
    yield fragments.no_advice(EVIL)


@pytest.mark.parametrize("pieces", [of_the_history, of_the_quality_tab])
def test_nothing_becomes_markup(pieces):
    found = list(pieces())
    assert len(found) > 8
    for markup in found:
        harmless(markup)


def test_what_stands_in_another_piece_is_markup_once():
    """A table within the results of the history is a table, and the text in it is escaped once."""
    for markup, tag in ((history.figures(evil_quality()), "table"), (history.answers(evil_comparison()), "article")):
        assert tag in Tags(markup).names and "&amp;lt;" not in markup and "&amp;#" not in markup


def test_of_hostile_facts_a_text_is_named():
    facts = TextFacts(EVIL, "ab" * 32, 100, 50, 1, 64)
    harmless(table.render(QualityView((Variant("fp32"),), "fp32", text=facts)))

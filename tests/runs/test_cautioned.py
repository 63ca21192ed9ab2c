"""What is to be known of a model's weights stands beside every result of theirs, wherever that is read."""

import io
import json
from dataclasses import replace

import pytest

from quantlab import export
from quantlab.cli.render import show, show_quality
from quantlab.cli.render.screen import Screen
from quantlab.export.tables import to_markdown
from quantlab.records import FOUR_BITS_ONCE, RANDOM, Comparison, Model, Quality
from quantlab.reporting import html
from quantlab.ui.common import fragments
from quantlab.ui.compare import view
from quantlab.ui.history import fragments as history_fragments
from quantlab.ui.quality import table
from quantlab.ui.quality import view as quality_view
from tests.examples import example_comparison
from tests.quality_examples import quality

PACKAGED, PUBLISHED = Model("smollm2", "package", None), Model("smollm2", "hub", None, "ab" * 20)
SHAPE = Model("shape:bench-100m", "shape", None)
COMPARISON = example_comparison(("fp32", "nf4"), errors={}, stopped=None)


def in_the_terminal(record: Comparison | Quality) -> str:
    screen = Screen(file=io.StringIO(), width=200)
    show(record, screen) if isinstance(record, Comparison) else show_quality(record, 0.05, console=screen)
    return screen.file.getvalue()


def on_the_page(record: Comparison | Quality) -> str:
    started = history_fragments.answers if isinstance(record, Comparison) else history_fragments.figures
    return started(record)


WAYS = {
    "terminal": in_the_terminal,
    "page": on_the_page,
    "markdown": to_markdown,
    "report": html.html,
    "json": lambda record: json.dumps(export.record_data(record), ensure_ascii=False),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("record", [COMPARISON, quality()], ids=["comparison", "quality"])
def test_weights_that_were_in_four_bits_once_are_told_beside_the_result(way, record):
    first = FOUR_BITS_ONCE.partition("(")[0]
    told = WAYS[way](replace(record, model=PACKAGED))
    assert told.count(first) == 1 and "formats with blocks of 32" in told
    assert first not in WAYS[way](replace(record, model=PUBLISHED))


@pytest.mark.parametrize("way", WAYS)
def test_random_weights_are_told_beside_the_answers(way):
    first = RANDOM.partition(":")[0]
    assert first in WAYS[way](replace(COMPARISON, model=SHAPE)) and first not in WAYS[way](COMPARISON)


def test_one_column_alone_has_its_caution_too():
    one = replace(COMPARISON, model=PACKAGED, runs=COMPARISON.runs[:1])
    assert "not quite the published ones" in on_the_page(one)


def test_the_page_says_so_from_the_start_so_that_nothing_moves():
    from quantlab.records.events import QualityStarted, Started

    begun = view.fold(view.View(), Started(("fp32",), "fp32", (1,), ("a",), PACKAGED))
    assert "not quite the published ones" in fragments.legend(begun)
    facts = quality().text
    measured = quality_view.fold(quality_view.QualityView(), QualityStarted(("fp32",), "fp32", facts, PACKAGED), 0.0)
    assert "not quite the published ones" in table.render(measured)

"""Where the finite figures of one window are left, no error is known: said as such everywhere, never as NaN."""

from dataclasses import replace

import numpy as np
import pytest

from quantlab.cli import render
from quantlab.cli.render.screen import Screen
from quantlab.export import read_json, to_csv, to_json, to_markdown
from quantlab.fidelity.figures import fidelity
from quantlab.fidelity.positions import Positions
from quantlab.records import Quality
from quantlab.reporting.advice import KLD_BOUND, advise, upper
from quantlab.reporting.charts import kld_spread, quality_map
from quantlab.reporting.html import html
from quantlab.ui.quality import table
from quantlab.ui.quality.view import QualityView, Variant
from tests.quality_examples import quality


@pytest.fixture(scope="module")
def found() -> Quality:
    """nf4 has figures in its first window alone; a chart, a table and a sentence each are drawn of it."""
    it = quality(("fp32", "nf4"), errors={})
    each, windows = it.text.scored // it.text.windows, it.text.windows
    draw = np.random.default_rng(0)
    kld = draw.exponential(0.001, size=each * windows)
    nll = draw.exponential(2.0, size=each * windows)
    kld[each:] = np.nan
    same = np.ones(each * windows, dtype=bool)
    positions = Positions(kld, kld, same, nll, nll + 1e-6, np.full(each * windows, 0.5), 7)
    return replace(it, runs=(it.runs[0], replace(it.runs[1], fidelity=fidelity(positions, windows), tasks={})))


def test_no_error_is_known(found):
    known = found.run("nf4").fidelity
    assert known.tokens == 255 and known.excluded == 15 * 255
    errors = (known.kld.se, known.kld_reverse.se, known.same_top_se, known.ppl.se, known.ppl.ratio_se)
    assert errors == (None,) * 5


def test_it_is_not_recommended_as_surely_under_the_bound(found):
    assert upper(found.run("nf4").fidelity) == float("inf")
    said = advise(found, KLD_BOUND)
    assert said.smallest is None and not any("NaN" in it or "nan" in it or "∞" in it for it in said.sentences)
    assert any("nf4 may do" in it and "its error is not known" in it for it in said.sentences)
    assert any("How exact the figures of nf4 are is not known" in it for it in said.sentences)


def test_it_is_told_as_not_known(found):
    screen = Screen(width=120)
    with screen.capture() as shown:
        render.show_quality(found, KLD_BOUND, console=screen)
    page = table.render(QualityView(tuple(Variant(run.precision, "done", run.load, run) for run in found.runs),
                                            found.reference, quality=found, text=found.text))  # fmt: skip
    tables = [" ".join(map(" ".join, module.table(found).rows)) for module in (kld_spread, quality_map)]
    for told in (shown.get(), page, *tables):
        assert "± ?" in told and "NaN" not in told and "nan" not in told.replace("nanosec", "")
    quality_map.figure(found)
    assert "± ?" in html(found, advise(found, KLD_BOUND).sentences)


def test_it_is_null_in_an_export_and_comes_back(found):
    back = read_json(to_json(found).encode())
    assert back.run("nf4").fidelity == found.run("nf4").fidelity
    assert "nan" not in to_csv(found).lower() and "nan" not in to_markdown(found).lower().replace("finance", "")

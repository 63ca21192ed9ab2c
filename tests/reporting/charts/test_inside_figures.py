"""The charts of a matrix laid open: what is drawn is what the records and the twins say."""

from dataclasses import replace

import pytest

from quantlab.records.inside import Grid, GridFigures, Histogram, Inside, Loss, Outliers, Product, Scale
from quantlab.reporting.charts import inside, outliers

FOUR = GridFigures("plain-4-row", "plain", 3, 20.0, 0.1, 0.05, 4.0, 0.5)
GRID = Grid(FOUR, (1, -1, 0, 1), (0.5, -0.5, 0.0, 0.5), (Scale(0, 4, 0.5, (-0.5, 0.0, 0.5), (-1, 0, 1)),))
OTHER = Grid(
    GridFigures("nf4", "normal", 2, 10.0, 0.2, 0.1, 4.0, 0.5),
    (3, 0, 3, 9),
    (0.4, -0.6, 0.4, 0.7),
    (Scale(0, 3, 1.0, (-0.6, 0.4), (0, 3)), Scale(3, 4, 2.0, (0.7,), (9,))),
)
VALUES = (0.45, -0.55, 0.02, 0.6)
REFUSED = GridFigures("q4_0", "", refused="Rows of 4 numbers are no whole blocks of 32.")
FOUND = Inside(
    "demo, a<b>", (2, 4), 1, 0, 1, 2, VALUES, GRID, Histogram((-0.6, 0.0, 0.7), (3, 4), 1, 0), OTHER,
    (FOUR, OTHER.figures, REFUSED),
)  # fmt: skip


def moves(figure, axis: str) -> list[tuple[float, float]]:
    trace = next(it for it in figure.data if it.yaxis == axis and getattr(it, "mode", "") == "lines+markers")
    return list(zip(trace.x[0::3], trace.x[1::3], strict=True))


def test_each_number_leads_to_its_level_in_both_strips():
    figure = inside.figure(FOUND)
    assert moves(figure, "y2") == list(zip(VALUES, GRID.kept, strict=True))
    assert moves(figure, "y3") == list(zip(VALUES, OTHER.kept, strict=True))


def test_the_histogram_has_the_levels_of_the_first_grid_as_lines():
    figure = inside.figure(FOUND)
    bars = next(it for it in figure.data if it.type == "bar")
    assert (tuple(bars.y), tuple(bars.x)) == ((3, 4), (-0.3, 0.35))
    lines = next(it for it in figure.data if getattr(it, "mode", "") == "lines")
    assert (tuple(lines.x[0::3]), set(lines.y[1::3])) == ((-0.5, 0.0, 0.5), {4})


def test_the_twins_hold_levels_counts_and_bins():
    first, second, histogram = inside.table(FOUND)
    assert first.rows == (("−0.5", "−1", "1"), ("0", "0", "1"), ("0.5", "1", "2"))
    assert second.rows == (("−0.6", "0", "1"), ("0.4", "3", "2"), ("0.7", "9", "1"))
    assert histogram.rows == (("below", "1"), ("−0.6 to 0", "3"), ("0 to 0.7", "4"), ("above", "0"))


def test_the_table_of_values_has_both_grids():
    table = inside.values(FOUND)
    assert table.columns[2:] == tuple(
        f"{name}: {what}" for name in ("plain-4-row", "nf4") for what in inside.VALUES[2:]
    )
    assert table.rows[3] == ("3", "0.6", "1", "0.5", "−0.1", "9", "0.7", "0.1")


def test_the_table_of_methods_keeps_their_order_and_says_why_one_has_no_figures():
    rows = inside.methods(FOUND).rows
    assert [row[0] for row in rows] == ["plain-4-row", "nf4", "q4_0"]
    assert rows[0][1:3] == ("20.0 dB", "0.100") and rows[0][5] == "4.500"
    assert rows[2][-1] == REFUSED.refused


def test_thousands_of_numbers_are_cut_and_it_is_said():
    many = tuple(place / 5_000 for place in range(4_000))
    grid = Grid(FOUR, (0,) * 4_000, many, (Scale(0, 4_000, 1.0, many, tuple(range(4_000))),))
    found = Inside("x", (1, 4_000), 0, 0, 0, 1, many, grid, Histogram((0.0, 1.0), (4_000,)))
    assert len(moves(inside.figure(found), "y2")) == inside.MOST_MOVES
    table = inside.values(found)
    assert len(table.rows) == inside.MOST_ROWS and "3,744 more are not listed" in table.caption


CORNER = ((1.0,),)
CHANNELS = Outliers(
    "demo, layer", "demo", 8, 0.7, (1.0, 30.0, 2.0), (0.5, 0.01, 0.4), (1,), 6.0, Loss(0.7, 0.2, 0.1, 0.05, 1),
    (Loss(0.0, 0.02, 0.01, 0.01, 0), Loss(1.0, 0.4, 0.2, 0.1, 1)),
    Product(0, 0, CORNER, CORNER, ((1,),), *(CORNER,) * 3, "bfloat16"),
)  # fmt: skip


def test_channels_that_reach_the_threshold_have_a_mark_of_their_own():
    inlying, over, weights = outliers.channels(CHANNELS).data
    assert (tuple(inlying.x), tuple(over.x), tuple(weights.x)) == ((0, 2), (1,), (0, 1, 2))
    assert len({inlying.marker.symbol, over.marker.symbol, weights.marker.symbol}) == 3
    rows = outliers.table(CHANNELS)[0].rows
    assert [row[0] for row in rows] == ["1", "2", "0"] and rows[0] == ("1", "30.0", "0.0100", "reaches it")


def test_losses_over_the_spread_and_the_one_asked_for():
    drawn = outliers.losses(CHANNELS).data
    curves = [trace for trace in drawn if len(trace.x) == 2]
    assert [tuple(trace.y) for trace in curves] == [(2.0, 40.0), (1.0, 20.0), (1.0, 10.0)]
    assert [trace.y[0] for trace in drawn if len(trace.x) == 1] == pytest.approx([20.0, 10.0, 5.0])
    assert len({trace.line.dash for trace in curves}) == 3
    table = outliers.table(CHANNELS)[1]
    assert [row[0] for row in table.rows] == ["0.00", "0.70", "1.00"] and table.rows[1][1] == "20.0 %"


def test_a_few_numbers_are_shown_with_the_buckets_codes():
    drawn = inside.moves(FOUND)
    assert moves(drawn, "y") == [(0.45, 0.5), (-0.55, -0.5), (0.02, 0.0), (0.6, 0.5)]
    codes = next(trace for trace in drawn.data if trace.name == "codes")
    assert list(zip(codes.x, codes.text, strict=True)) == [(-0.5, "−1"), (0.0, "0"), (0.5, "1")]
    several = inside.moves(replace(FOUND, grid=OTHER))
    assert "codes" not in {trace.name for trace in several.data}, "levels of several scales have no one row of codes"

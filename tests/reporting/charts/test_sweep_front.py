"""The chart of a sweep's front and its table, against the front."""

import math

import pytest

from quantlab.records.swept import Front, FrontPoint
from quantlab.reporting.charts import sweep_front as chart

POINTS = (
    FrontPoint("a <b>", "fp32", 8_000_000, 0.62, 0.03, True),
    FrontPoint("a <b>", "nf4", 1_000_000, 0.5, 0.03, True),
    FrontPoint("other", "fp32", 9_000_000, 0.4, None, False),
)
ACCURACY = Front("accuracy", "demo_facts", "all models", POINTS)
DISTANCE = Front(
    "mean KLD", "demo", "a", (FrontPoint("a", "fp32", 80, 0.0, 0.0, True), FrontPoint("a", "nf4", 40, 0.1, 0.02, True))
)


def drawn_at(figure, name: str) -> list[tuple[float, float]]:
    (trace,) = (it for it in figure.data if it.name == name)
    return list(zip(trace.x, trace.y, strict=True))


def test_each_point_is_where_its_figures_are_and_the_line_goes_through_the_front():
    figure = chart.figure(ACCURACY)
    assert drawn_at(figure, "fp32") == [(8_000_000, 62.0), (9_000_000, 40.0)]
    assert drawn_at(figure, "Pareto front") == [(1_000_000, 50.0), (8_000_000, pytest.approx(62.0))]
    (named,) = (trace for trace in figure.data if trace.name == "nf4")
    assert "a &lt;b&gt;" in named.customdata[0][0] and named.error_y.array[0] == pytest.approx(3.0)


def test_a_distance_of_zero_has_a_place_below_all_others():
    figure = chart.figure(DISTANCE)
    ((_, zero),) = drawn_at(figure, "fp32")
    assert 0 < zero < 0.1 and figure.layout.yaxis.type == "log" and "0" in figure.layout.yaxis.ticktext


@pytest.mark.parametrize("sizes", [(1, 1), (900, 1_100), (1_000_000, 8_000_000_000_000)])
def test_the_axis_of_bytes_has_a_few_names_within_it(sizes):
    points = tuple(FrontPoint("m", f"rtn-{i}", size, 0.5, 0.1, True) for i, size in enumerate(sizes, 2))
    axis = chart.figure(Front("accuracy", "t", "all models", points)).layout.xaxis
    assert 1 <= len(axis.tickvals) <= 7 and len(set(axis.ticktext)) == len(axis.tickvals)
    assert all(axis.range[0] <= math.log10(tick) <= axis.range[1] for tick in axis.tickvals)


def test_the_table_has_the_same_figures():
    found = chart.table(ACCURACY)
    assert found.rows[0] == ("a <b>", "nf4", "1.00 MB", "50.0 ± 3.0 %", "yes")
    assert [row[-1] for row in found.rows] == ["yes", "yes", "no"] and found.rows[2][3].startswith("40")

import math
import statistics
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlab.measure.statistics import deviation, mean, median, percentile
from quantlab.records import units

SAMPLES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50)


def by_definition(samples: list[float], percent: float) -> float:
    """Type 7 of Hyndman and Fan: position (n - 1) p, linear between the two samples around it."""
    ordered, (part, low) = sorted(samples), math.modf((len(samples) - 1) * percent / 100)
    return ordered[int(low)] + part * (ordered[min(int(low) + 1, len(samples) - 1)] - ordered[int(low)])


@given(SAMPLES, st.floats(0, 100))
def test_percentiles_are_those_of_their_definition(samples: list[float], percent: float):
    assert percentile(samples, percent) == pytest.approx(by_definition(samples, percent), rel=1e-9, abs=1e-6)


@given(SAMPLES)
def test_the_others_are_those_of_the_standard_library(samples: list[float]):
    assert median(samples) == statistics.median(samples)
    assert mean(samples) == statistics.fmean(samples)
    if len(samples) > 1:
        assert deviation(samples) == pytest.approx(statistics.stdev(samples), rel=1e-9, abs=1e-6)


@settings(max_examples=300)
@given(st.lists(st.floats(1e-6, 1e3), min_size=2, max_size=50))
def test_what_is_shown_does_not_depend_on_who_computes_it(samples: list[float]):
    """Of a figure three digits are shown: numpy's and the exactly rounded one round to the same, but for a tie."""
    for found, exact in (
        (mean(samples), statistics.fmean(samples)),
        (median(samples), statistics.median(samples)),
        (percentile(samples, 95), statistics.quantiles(samples, n=20, method="inclusive")[-1]),
    ):
        assert found == pytest.approx(exact, rel=1e-14)
        near = {units.number(exact * (1 + 1e-14)), units.number(exact * (1 - 1e-14)), units.number(exact)}
        assert units.number(found) in near


def test_between_two_samples_by_linear_interpolation():
    assert (percentile([10, 0], 95), median([3.0, 1.0, 2.0])) == (9.5, 2.0)


def test_no_samples_have_no_statistics():
    assert (percentile([], 95), median(()), mean(()), deviation([1.0])) == (None,) * 4


@pytest.mark.filterwarnings("error")
def test_what_is_not_a_number_is_not_hidden():
    assert all(math.isnan(percentile([1.0, math.nan, 2.0], percent)) for percent in (0, 50, 100))
    assert math.isnan(mean([1.0, math.nan])) and math.isnan(mean([math.inf, -math.inf]))
    assert math.isnan(median([math.nan, 1.0])) and math.isnan(median([-math.inf, math.inf]))
    assert math.isnan(deviation([math.inf, 1.0])) and deviation([1e300, -1e300]) == math.inf


@pytest.mark.filterwarnings("error")
def test_an_infinite_sample_is_infinite_only_where_it_is_reached():
    assert percentile([math.inf, math.inf], 50) == median([math.inf, math.inf]) == math.inf
    assert percentile([math.inf, 1.0], 0) == 1.0 and percentile([1.0, 2.0, math.inf], 50) == 2.0
    assert [percentile([1.0, math.inf], percent) for percent in (1, 50, 99, 100)] == [math.inf] * 4
    assert percentile([-math.inf, 1.0], 50) == -math.inf and math.isnan(percentile([-math.inf, math.inf], 50))


def test_a_mean_is_rounded_once():
    assert mean([0.3] * 63) == 0.3 and mean([1.7e308, 1.7e308]) == math.inf


def test_truth_values_have_a_mean_their_share():
    assert mean([True, False, True, True]) == 0.75


def test_the_command_line_starts_without_numpy():
    code = "import sys, quantlab.cli, quantlab.measure.trust; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize("percent", [-1, 100.5])
def test_a_percentage_outside_the_range_is_refused(percent: float):
    with pytest.raises(ValueError, match="between 0 and 100"):
        percentile([1.0], percent)

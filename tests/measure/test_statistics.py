import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.measure.statistics import mean, median, percentile

SAMPLES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50)


@given(SAMPLES, st.floats(0, 100))
def test_percentiles_are_numpys(samples: list[float], percent: float):
    assert percentile(samples, percent) == pytest.approx(np.percentile(samples, percent), rel=1e-9, abs=1e-6)


@given(SAMPLES)
def test_median_and_mean_are_numpys(samples: list[float]):
    assert median(samples) == pytest.approx(np.median(samples), rel=1e-9, abs=1e-9)
    assert mean(samples) == pytest.approx(np.mean(samples), rel=1e-9, abs=1e-6)


def test_between_two_samples_by_linear_interpolation():
    assert (percentile([10, 0], 95), median([3.0, 1.0, 2.0])) == (9.5, 2.0)


def test_no_samples_have_no_statistics():
    assert (percentile([], 95), median(()), mean(())) == (None, None, None)


def test_what_is_not_a_number_is_not_hidden():
    assert math.isnan(percentile([1.0, math.nan, 2.0], 100))
    assert math.isnan(mean([1.0, math.nan]))
    assert percentile([math.inf, math.inf], 50) == math.inf


@pytest.mark.parametrize("percent", [-1, 100.5])
def test_a_percentage_outside_the_range_is_refused(percent: float):
    with pytest.raises(ValueError, match="between 0 and 100"):
        percentile([1.0], percent)

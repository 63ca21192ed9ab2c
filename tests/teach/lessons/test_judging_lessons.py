"""Predictions as people type them, and verdicts that follow from figures alone."""

import pytest

from quantlab.errors import BadInput
from quantlab.records.lessons import Question, Truth
from quantlab.teach.lessons import judging
from quantlab.teach.lessons.judging import judged, read

GIGABYTES = Question("lesson-0/a", "?", "number", "GB", 0.1, 100, exact=0.01, close=0.1)
PLACES = Question("lesson-0/b", "?", "number", "", -7, 7, whole=True, close=0.34)
ABILITY = Question("lesson-0/c", "?", "choice", choices=("facts", "sums", "grammar"))


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("3.6", 3.6),
        (" 3,6 ", 3.6),
        ("3.6 GB", 3.6),
        ("3.6gb", 3.6),
        ("1e1", 10.0),
        (4, 4.0),
        (0.1, 0.1),
        ("100", 100.0),
    ],
)
def test_a_number_is_understood(typed, value):
    assert read(GIGABYTES, typed) == value


def test_signs_of_a_number():
    assert read(PLACES, "−3") == -3 and read(PLACES, "+3") == 3 and read(PLACES, "3.0") == 3


@pytest.mark.parametrize(
    ("question", "typed", "what"),
    [
        (GIGABYTES, "", "no prediction yet"),
        (GIGABYTES, None, "no prediction yet"),
        (GIGABYTES, "   ", "no prediction yet"),
        (GIGABYTES, "many", "'many' is no number"),
        (GIGABYTES, "nan", "'nan' is no number"),
        (GIGABYTES, float("nan"), "'nan' is no number"),
        (GIGABYTES, "inf", "is no number"),
        (GIGABYTES, "1,234.5", "is no number"),
        (GIGABYTES, "4" * 400, "is no number"),
        (GIGABYTES, ["3"], "is no number"),
        (GIGABYTES, {"x": 1}, "is no number"),
        (GIGABYTES, "0", "out of range"),
        (GIGABYTES, "-3", "out of range"),
        (GIGABYTES, "101", "out of range"),
        (PLACES, "2.5", "no whole number"),
        (PLACES, "8", "out of range"),
        (ABILITY, "", "no prediction yet"),
        (ABILITY, None, "no prediction yet"),
        (ABILITY, "stories", "Unknown answer 'stories'"),
        (ABILITY, 3, "Unknown answer '3'"),
        (ABILITY, ["facts"], "Unknown answer"),
    ],
)
def test_what_is_no_prediction_says_why(question, typed, what):
    with pytest.raises(BadInput, match=what) as error:
        read(question, typed)
    assert error.value.advice


@pytest.mark.parametrize(
    ("prediction", "outcome", "words"),
    [
        (4.46, "right", "You said 4.46 GB. It is 4.46 GB: exactly right."),
        (4.5, "right", "You said 4.50 GB. It is 4.46 GB: as near as can be told."),
        (4.2, "close", "You said 4.20 GB. It is 4.46 GB: close, 0.26 GB (5.83 % of it) too low."),
        (3.5, "off", "You said 3.50 GB. It is 4.46 GB: 0.96 GB (21.5 % of it) too low."),
        (8.92, "off", "You said 8.92 GB. It is 4.46 GB: 4.46 GB (100 % of it) too high."),
    ],
)
def test_a_verdict_says_by_how_much(prediction, outcome, words):
    found = judged(GIGABYTES, prediction, Truth(4.46))
    assert (found.outcome, found.words) == (outcome, words)
    assert found.off == pytest.approx(prediction - 4.46)


def test_the_figures_of_a_verdict_add_up():
    """0.800 and 1.40 once were -0.605 apart, since 1.4046 is shown as 1.40."""
    times = Question("lesson-0/e", "?", "number", "x", 0.01, 100)
    assert judged(times, 0.8, Truth(1.4046)).words == "You said 0.800 x. It is 1.40 x: 0.60 x (43.0 % of it) too low."
    for prediction, value in ((0.8, 1.4046), (12.34, 1.0), (0.123, 41.2), (3.6, 4.463)):
        said = [float(judging.shown(times, it).split()[0]) for it in (prediction, value)]
        off = judging.apart(times, prediction, value).split()[0]
        places = len(off.partition(".")[2])
        assert judged(times, 9.999, Truth(10.04)).words == "You said 10.0 x. It is 10.0 x: exactly right."
        assert round(abs(said[0] - said[1]), places) == float(off) > 0


def test_one_minus_sign_is_shown_and_both_are_read():
    assert judged(PLACES, -4.0, Truth(3.0)).words == "You said −4. It is 3: 7 too low."
    assert "−7 to 7" in judging.range_of(PLACES) and read(PLACES, "-4") == read(PLACES, "−4") == -4


def test_whole_numbers_and_zero():
    assert judged(PLACES, 2.0, Truth(3.0)).words == "You said 2. It is 3: close, 1 too low."
    assert judged(PLACES, 3.0, Truth(0.0)).outcome == "off"
    assert judged(PLACES, 0.0, Truth(0.0)).outcome == "right"
    assert judged(PLACES, -4.0, Truth(-3.0)).outcome == "close"


def test_a_prediction_within_what_was_measured_is_right():
    truth = Truth(0.5, low=0.4, high=0.6)
    speed = Question("lesson-0/d", "?", "number", "x", 0.01, 100, exact=0.0, close=0.1)
    assert judged(speed, 0.58, truth).outcome == "right" and judged(speed, 0.7, truth).outcome == "off"
    assert "(from 0.400 x to 0.600 x)" in judged(speed, 0.58, truth).words


def test_where_no_verdict_can_rest_on_it_none_is_given():
    doubtful = Truth(0.5, doubt="The machine was busy.")
    found = judged(GIGABYTES, 0.5, doubtful)
    assert found.outcome == "open" and found.off is None
    assert found.words == "You said 0.500 GB. 0.500 GB was measured. The machine was busy."
    assert judged(ABILITY, "sums", Truth("sums", doubt="Nothing broke.")).outcome == "open"


def test_choices():
    assert judged(ABILITY, "sums", Truth("sums")).outcome == "right"
    assert judged(ABILITY, "facts", Truth("sums")).words == "You chose: facts. What was found is: sums."
    tied = Truth("sums", ties=("facts",))
    assert judged(ABILITY, "facts", tied).outcome == "close" and "cannot be told" in judged(ABILITY, "sums", tied).words
    assert judged(ABILITY, "grammar", tied).outcome == "off"

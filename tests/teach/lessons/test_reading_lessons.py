"""The lessons as they lie in the assets: six, whole, and every figure in them is one that is computed."""

import re

import pytest

from quantlab.errors import BadInput
from quantlab.records import units
from quantlab.records.lessons import STEPS
from quantlab.teach.lessons import observing, reading
from quantlab.teach.lessons.acted import Acted
from quantlab.ui.lessons import form
from quantlab.ui.lessons.form import CONTROLS, titles

GOOD = """+++
number = 7
title = "T"
idea = "I."

[question]
id = "it"
ask = "How many?"
kind = "number"
low = 0
high = 9
+++
## Predict
p {a}
## Act
a
## Observe
o
## Reflect
r
## Answer
x
"""


def test_there_are_six_with_four_steps_and_stable_ids():
    found = reading.lessons()
    assert [it.number for it in found] == [1, 2, 3, 4, 5, 6] and len(titles()) == 7
    assert [it.question.id for it in found] == [
        "lesson-1/tokens", "lesson-2/bucket", "lesson-3/gigabytes", "lesson-4/breaks", "lesson-5/ratio",
        "lesson-6/fits",
    ]  # fmt: skip
    for lesson in found:
        assert tuple(lesson.texts) == STEPS and all(lesson.texts.values()) and lesson.answer and lesson.idea
        assert lesson.texts["reflect"].count("?") >= 1, "one question at the end"


def test_no_lesson_has_more_than_three_controls():
    assert sorted(CONTROLS) == [it.number for it in reading.lessons()]
    assert all(1 <= len(names) <= 3 for names in CONTROLS.values())


@pytest.mark.parametrize("number", range(1, 7))
def test_every_figure_of_a_text_is_computed(number):
    lesson, given = reading.lesson(number), observing.given(number)
    truth = observing.observe(number, Acted()).truth
    assert truth is not None, "its recorded result is not there"
    early = {*reading.figures(lesson.texts["predict"]), *reading.figures(lesson.texts["act"])}
    assert early <= set(given), "told before the prediction, and known only after it"
    late = {it for text in (*lesson.texts.values(), lesson.answer) for it in reading.figures(text)}
    assert late <= {*given, *truth.facts}


@pytest.mark.parametrize("number", range(1, 7))
def test_the_truth_is_not_told_before_the_prediction(number):
    lesson, truth = reading.lesson(number), observing.observe(number, Acted()).truth
    question = lesson.question
    if question.kind == "number" and number != 1:
        told = reading.filled(lesson.texts["predict"], observing.given(number))
        value = truth.facts.get("asked_code") or f"{truth.value:.2f}"
        assert not re.search(rf"bucket {value}\b|\b{re.escape(value)} (?:GB|x)", told)
    assert question.kind == "number" or truth.value in question.choices


@pytest.mark.parametrize("number", range(1, 7))
def test_a_lesson_names_its_own_button(number):
    """“Show” is called otherwise where something was recorded."""
    own, other = (
        (form.SHOW_RECORDED, observing.SHOW) if observing.runs(number) else (observing.SHOW, form.SHOW_RECORDED)
    )
    texts = " ".join((*reading.lesson(number).texts.values(), reading.lesson(number).answer))
    assert f"“{other}”" not in texts and (f"“{own}”" in texts or observing.runs(number))


def test_the_teachers_page_names_buttons_that_there_are():
    page = (reading.FOLDER / reading.TEACHER).read_text("utf-8")
    assert f"“{form.SHOW_RECORDED}”" in page and "before “Show” " not in page


@pytest.mark.parametrize("number", range(1, 7))
def test_one_minus_sign_in_all_texts(number):
    found = reading.lesson(number)
    truth = observing.observe(number, Acted()).truth
    facts = {**observing.given(number), **truth.facts}
    for text in (*found.texts.values(), found.answer):
        filled = reading.filled(text, facts)
        assert filled == units.minus(filled)


def test_a_lesson_is_parsed_and_filled():
    lesson = reading.parsed(GOOD)
    assert lesson.question.id == "lesson-7/it" and lesson.answer == "x"
    assert reading.filled(lesson.texts["predict"], {"a": "1 *2* <b>"}) == r"p 1 \*2\* \<b\>"
    with pytest.raises(KeyError):
        reading.filled("{nobody}", {})


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("+++\nnumber", "number", "settings between"),
        ("## Act\na\n", "", "headings"),
        ("## Answer", "## Other", "headings"),
        ('kind = "number"', 'kind = "choice"', "two answers"),
        ("high = 9", "high = 0", "between low and high"),
        ("high = 9", "higher = 9", "no higher"),
    ],
)
def test_what_is_no_lesson_is_refused(old, new, what):
    with pytest.raises(ValueError, match=what):
        reading.parsed(GOOD.replace(old, new, 1))


def test_a_lesson_that_is_not_there():
    for number in (0, 7, -1):
        with pytest.raises(BadInput, match=f"no lesson {number}"):
            reading.lesson(number)

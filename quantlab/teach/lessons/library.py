"""What a program that imports quantlab calls for `quantlab.lessons` and `quantlab.judge`."""

from dataclasses import replace

from quantlab.errors import BadInput
from quantlab.records import Comparison
from quantlab.records.lessons import Lesson, Truth, Verdict
from quantlab.teach.lessons import judging, observing, reading
from quantlab.teach.lessons.acted import Acted


def lessons() -> tuple[Lesson, ...]:
    """The six lessons. The figures of their first two steps are filled in, those of the others are in `Truth.facts`."""
    return tuple(map(begun, reading.lessons()))


def begun(lesson: Lesson) -> Lesson:
    """A lesson with the figures that are told before the prediction."""
    facts = observing.given(lesson.number)
    first = {step: reading.filled(lesson.texts[step], facts) for step in ("predict", "act")}
    asked = replace(lesson.question, ask=reading.asked(lesson.question, facts))
    return replace(lesson, texts={**lesson.texts, **first}, question=asked)


def judge(number: int, prediction: float | str, run: Comparison | None = None) -> tuple[Verdict, Truth]:
    """A prediction beside the truth: computed now, recorded ahead, or told by `run`, a comparison of yours.

    Raises BadInput for a lesson or a prediction that cannot be, where no recorded result is there, and for a run that
    has not what the lesson needs.
    """
    question = reading.lesson(number).question
    value = judging.read(question, prediction)
    found = observing.observe(number, Acted()) if run is None else observing.of_run(number, run, Acted())
    if found.truth is None:
        raise BadInput(found.missing)
    return judging.judged(question, value, found.truth), found.truth

"""What is chosen on the tab, checked on the server."""

from typing import Any

from quantlab.errors import unknown
from quantlab.records.lessons import Lesson
from quantlab.teach.lessons.acted import Acted
from quantlab.teach.lessons.reading import lessons
from quantlab.ui.common.typed import whole

TEACHER = "For teachers"
#: The button that leads on where something was recorded; elsewhere it is `observing.SHOW`.
SHOW_RECORDED = "Show the recorded result"
#: The controls of each lesson's second step, by the fields of `Acted`: three at most.
CONTROLS = {
    1: ("prompt",),
    2: ("numbers", "bits"),
    3: ("planned", "precision", "context"),
    4: ("prompt",),
    5: ("model",),
    6: ("card", "context"),
}
#: What a lesson's prompt begins with, where it is not that of `Acted`.
PROMPTS = {4: "Where does Oskar Kettle live?"}


def titles() -> tuple[str, ...]:
    """What can be opened."""
    return (*map(title, lessons()), TEACHER)


def title(lesson: Lesson) -> str:
    return f"{lesson.number}. {lesson.title}"


def chosen(name: Any) -> Lesson | None:
    """The lesson of that title, None for the teachers' page. Raises BadInput for what is not offered."""
    if name == TEACHER:
        return None
    for found in lessons():
        if title(found) == name:
            return found
    raise unknown("lesson", str(name)[:80], titles())


def acted(values: Any) -> Acted:
    """The controls' values in the order of the fields of `Acted`. Raises BadInput for what is no whole number."""
    prompt, numbers, bits, planned, precision, context, model, card = values
    return Acted(
        str(prompt or ""), str(numbers or ""), whole("The number of bits", bits, 4), str(planned or ""),
        str(precision or ""),
        whole("The number of tokens", context, 4), str(model or ""), str(card or ""),
    )  # fmt: skip

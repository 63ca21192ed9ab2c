"""`quantlab lesson` in the terminal."""

from collections.abc import Sequence

from rich.markdown import Markdown
from rich.markup import escape

from quantlab.cli.render.screen import Screen, visible
from quantlab.records.lessons import Lesson, Truth, Verdict
from quantlab.teach.lessons import judging, reading

#: No meaning by colour alone: the words stand beside it.
_STYLES = {"right": "green", "close": "green", "off": "yellow", "open": "dim"}
_WORDS = {"right": "Right", "close": "Close", "off": "Off", "open": "No verdict"}


def show_lessons(found: Sequence[Lesson], console: Screen | None = None) -> None:
    """Which there are, and how one is begun."""
    console = console or Screen()
    for lesson in found:
        console.print(f"{lesson.number}. [bold]{escape(lesson.title)}[/]", highlight=False)
        console.print(f"   {escape(lesson.idea)}", highlight=False)
    console.print("\nBegin: quantlab lesson 1", highlight=False)


def show_beginning(lesson: Lesson, console: Screen | None = None) -> None:
    """What is told before the prediction, and what is asked; the figures are in it already."""
    console = console or Screen()
    console.print(f"[bold]{lesson.number}. {escape(lesson.title)}[/]\n", highlight=False)
    console.print(Markdown(visible(lesson.texts["predict"])))
    question = lesson.question
    how = judging.range_of(question) if question.kind == "number" else " | ".join(question.choices)
    console.print(f"\n[bold]Predict: {escape(question.ask)}[/] ({escape(how)})\n", highlight=False)


def show_ending(lesson: Lesson, verdict: Verdict, truth: Truth, console: Screen | None = None) -> None:
    """The truth beside the prediction, what stands behind it, and the question for afterwards with its answer."""
    from quantlab.teach.lessons import observing

    console = console or Screen()
    facts = {**observing.given(lesson.number), **truth.facts}
    style = _STYLES[verdict.outcome]
    console.print(f"[{style}]{_WORDS[verdict.outcome]}.[/] {escape(visible(verdict.words))}", highlight=False)
    console.print(escape(visible(truth.source)), style="dim", highlight=False, end="\n\n")
    texts = (lesson.texts["observe"], f"**{lesson.texts['reflect']}**", lesson.answer)
    for text in texts:
        console.print(Markdown(visible(reading.filled(text, facts))), end="\n")

"""The tab's pieces of HTML, from plain values."""

from collections.abc import Mapping, Sequence
from functools import cache

from quantlab.records import Comparison, units
from quantlab.records.lessons import Lesson, Question, Truth, Verdict
from quantlab.reporting.templates import Pieces
from quantlab.teach.lessons import judging, reading

_HTML = Pieces("ui/lessons/fragments.html")
_WORDS = {"right": ("✓", "Right"), "close": ("≈", "Close"), "off": ("✕", "Off"), "open": ("–", "No verdict")}


def intro() -> str:
    return _HTML.intro()


def head(lesson: Lesson) -> str:
    return _HTML.head(f"{lesson.number}. {lesson.title}", lesson.idea)


def text(markdown: str, facts: Mapping[str, str]) -> str:
    """A step's text with its figures."""
    return _HTML.text(_rendered(reading.filled(markdown, facts)))


def reflect(lesson: Lesson, facts: Mapping[str, str]) -> str:
    """The last question, and its answer folded away."""
    question, answer = (reading.filled(it, facts) for it in (lesson.texts["reflect"], lesson.answer))
    return _HTML.reflect(_rendered(question), _rendered(answer))


@cache
def teacher(classes: int, nbytes: int) -> str:
    """The page for whoever teaches the lessons. Of classes so many, and so many bytes, are kept."""
    facts = {"classes": f"{classes:,}", "size": units.size(nbytes)}
    return text((reading.FOLDER / reading.TEACHER).read_text("utf-8"), facts)


def verdict(question: Question, found: Verdict, truth: Truth, before: Sequence[float | str]) -> str:
    """The truth beside the prediction. `before` are predictions that the same visitor made earlier."""
    sign, word = _WORDS[found.outcome]
    shown = [("You", judging.shown(question, found.prediction)), (_found(truth), judging.shown(question, found.truth))]
    if found.off is not None:
        way = "+" if found.off > 0 else "−" if found.off < 0 else ""
        shown.append(("Off by", f"{way}{judging.apart(question, float(found.prediction), float(found.truth))}"))
    first = f"Your first prediction was {judging.shown(question, before[0])}." if before else ""
    return _HTML.verdict(sign, word, found.outcome, shown, found.words, truth.source, first)


def _found(truth: Truth) -> str:
    what = "Measured" if truth.doubt else "Found"
    return f"{what} for {truth.of}" if truth.of else what


def missing(why: str) -> str:
    """That there is no recorded result, and what to do instead."""
    return _HTML.missing(why)


def told(words: str) -> str:
    """What was seen of the learner's own choice; nothing where there are no words."""
    return _HTML.told(words)


def answers(found: Comparison) -> str:
    """What each precision wrote, and up to where it is the reference's."""
    rows = []
    for run in found.runs:
        parts = run.first_divergence
        same = "" if run.precision == found.reference else "the same words" if parts is None else (
            f"first differs at token {parts.index + 1}"
        )  # fmt: skip
        rows.append((run.precision, same, run.error or run.text))
    return _HTML.answers(found.prompt, rows)


def _rendered(markdown: str) -> str:
    """HTML of Markdown, for templates to take as it is: markup in the text itself is shown, not obeyed."""
    from markdown_it import MarkdownIt

    made: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return made

"""The quality tab's HTML around its results; its markup is in fragments.html."""

from collections.abc import Sequence

from quantlab.fidelity.tasks import BundledTask
from quantlab.reporting.advice import Advice
from quantlab.reporting.advice.recipes import Recipe
from quantlab.reporting.templates import Pieces
from quantlab.ui.common.fragments import outcome, said
from quantlab.ui.quality.view import QualityView, Step

_HTML = Pieces("ui/quality/fragments.html")
EMPTY = _HTML.empty()
_STAGES = {
    "loading": "loading",
    "speed": "measuring its speed",
    "text": "reading the text",
    "tasks": "answering the tasks",
    "layers": "looking into its layers",
    "again": "timing again",
}
#: What a block of code is, read aloud.
_READ = {"python": "a Python program", "sh": "a command", "text": "a Modelfile"}
#: What the steps of a stage are; where nobody counts them, nothing.
_UNITS = {"speed": "answers", "again": "answers", "text": "tokens", "tasks": "answers", "layers": ""}


def describe_tasks(bundled: Sequence[BundledTask]) -> str:
    """What each bundled task asks."""
    return _HTML.tasks([(task.name, task.about) for task in bundled])


def status(view: QualityView, *, running: bool) -> str:
    """One line on the whole run. It changes with states, not with tokens: it is read aloud."""
    return said(f"{_status(view, running)} {view.notice}".strip())


def _status(view: QualityView, running: bool) -> str:
    total, ended = len(view.variants), len(view.ended)
    if running:
        if view.step is None and not view.variants:
            return "Reading the text …"
        done = f"{ended} of {total} done." if total else ""
        return f"{_doing(view)} {done}".strip()
    if view.problem is not None:
        return ""
    return outcome([one.state for one in view.variants], "are measured", "What is finished stays.")


def _doing(view: QualityView) -> str:
    step = view.step
    if step is None:
        return ""
    if not step.precision:
        return "Fetching the model."
    if all(one.precision != step.precision for one in view.variants):
        return f"{step.precision} for the noise floor: {_STAGES[step.stage]}."
    return f"{step.precision}: {_STAGES[step.stage]}."


def progress(view: QualityView) -> str:
    """How far it is and how long it takes, beside the status: it changes too often to be read aloud."""
    step = view.step
    if step is None:
        return _HTML.progress("", 0, 0) if view.ended and len(view.ended) < len(view.variants) else ""
    parts = [_counted(step), _left(view, step)]
    total = step.total if step.done else 0
    return _HTML.progress(" · ".join(filter(None, parts)), total, min(step.done, step.total))


def _counted(step: Step) -> str:
    if step.stage == "loading":
        return step.what
    if not step.total or not step.done:
        return step.what if step.stage == "tasks" else ""
    of = f"{min(step.done, step.total):,} of {step.total:,} {_UNITS[step.stage]}".strip()
    return f"{of}: {step.what}" if step.stage == "tasks" else of


def _left(view: QualityView, step: Step) -> str:
    if step.stage == "loading" and step.what:
        return ""  # quantizing tells its own time left, of which the pace of the others knows nothing
    if (left := view.left_s) is not None:
        return f"{duration(left)} left"
    return (
        f"{duration(step.left_s)} left for {step.precision}’s text" if step.left_s is not None and _worth(step) else ""
    )


def _worth(step: Step) -> bool:
    return step.left_s is not None and step.stage == "text"


def duration(seconds: float) -> str:
    """As exact as an estimate is: "about 8 s", "about 3 min"."""
    if seconds < 20:
        return f"about {max(1, round(seconds))} s"
    return f"about {5 * round(seconds / 5)} s" if seconds < 90 else f"about {round(seconds / 60)} min"


def advice(found: Advice) -> str:
    """The recommendation with its reasons."""
    return _HTML.advice(found)


def to_run(found: Sequence[Recipe]) -> str:
    """How to run what is recommended without quantlab, folded away. One click on code selects all of it."""
    return _HTML.to_run(found, _READ)


def no_advice(why: str) -> str:
    return _HTML.no_advice(why)

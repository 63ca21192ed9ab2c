"""The quality tab's HTML around its results. Whatever is not written here is escaped."""

from collections.abc import Sequence
from html import escape

from quantlab.fidelity.tasks import BundledTask
from quantlab.reporting.advice import Advice
from quantlab.reporting.advice.recipes import Recipe
from quantlab.ui.common.fragments import caution, said
from quantlab.ui.quality.view import QualityView, Step

EMPTY = (
    '<div class="empty"><p><b>Press Measure.</b> Every ticked precision reads the same text, one after the other, and '
    "is held against the most precise one at every token: every version reads the same text.</p><p>Then you see how "
    "far each lies from it, whether that is more than rounding noise, what it saves in memory and time, and which one "
    "to take.</p></div>"
)
BOUND_HELP = "Mean KLD in nats. 0.05 is about 5 % more perplexity, on text like the reference’s own."
MEMORY_HELP = "For the weights, in MB = 10⁶ bytes. 0 is no limit."
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
    told = "".join(f"<li><b>{escape(task.name)}</b> {escape(task.about)}</li>" for task in bundled)
    return f'<details class="more"><summary>What the tasks ask</summary><ul class="told">{told}</ul></details>'


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
    if view.problem is not None or not view.variants:
        return ""
    failed = sum(one.state == "failed" for one in view.variants)
    if any(one.state == "stopped" for one in view.variants):
        return "Stopped. What is finished stays."
    return f"{total - failed} of {total} are measured." if failed else f"All {total} are measured."


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
        return _bar("", "") if view.ended and len(view.ended) < len(view.variants) else ""
    share = f' max="{step.total}" value="{min(step.done, step.total)}"' if step.total and step.done else ""
    parts = [_counted(step), _left(view, step)]
    return _bar(share, " · ".join(filter(None, parts)))


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


def waiting() -> str:
    return said("Waiting for a free place: one run at a time, so that the timings are true.")


def _bar(share: str, text: str) -> str:
    return (
        f'<div class="saving"><progress aria-label="progress of this step"{share}></progress>'
        f'<p class="faint step">{escape(text)}</p></div>'
    )


def advice(found: Advice) -> str:
    """The recommendation with its reasons."""
    first = "".join(f"<p>{escape(text)}</p>" for text in found.recommendations)
    noise = "".join(f"<p>{escape(text)}</p>" for text in found.noise)
    pairs = "".join(f"<li>{escape(pair.sentence)}</li>" for pair in found.pairs)
    told = f"<h4>Which differences are real?</h4><ul>{pairs}</ul>" if pairs else ""
    cautions = "".join(map(caution, found.cautions))
    return (
        f'<div class="advised" role="status">{first}{cautions}</div><div class="reasons">{noise}{told}</div>'
    )  # fmt: skip


def to_run(found: Sequence[Recipe]) -> str:
    """How to run what is recommended without quantlab, folded away. One click on code selects all of it."""
    return "".join(map(_recipe, found))


def _recipe(one: Recipe) -> str:
    blocks = "".join(
        f"{f'<p>{escape(block.about)}</p>' if block.about else ''}"
        f'<pre tabindex="0" aria-label="{_READ[block.language]}"><code>{escape(block.code)}</code></pre>'
        for block in one.blocks
    )
    return (
        f'<details class="to-run"><summary>Run {escape(one.precision)} without quantlab</summary>'
        f"<p>{escape(one.said)}</p>{blocks}</details>"
    )


def no_advice(why: str) -> str:
    return f'<div class="advised" role="status"><p class="faint">{escape(why)}</p></div>'

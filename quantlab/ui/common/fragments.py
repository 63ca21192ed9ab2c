"""The small pieces of HTML around the columns. Whatever is not written here is escaped."""

import re
from collections.abc import Sequence
from functools import cache
from html import escape

from quantlab.methods import METHODS
from quantlab.methods.awq import MOST_LENGTH, MOST_SAMPLES
from quantlab.records import Comparison, Model, units
from quantlab.reporting.advice import one_prompt
from quantlab.settings import DOCS
from quantlab.ui.common.precision_list import Row
from quantlab.ui.common.problem import Problem
from quantlab.ui.compare.view import Column, View

HEADER = (
    '<div class="masthead"><a class="skip" href="#prompt">Skip to the prompt or the text</a><h1>quantlab</h1>'
    "<p>One model at several precisions, one prompt through each: "
    "see what the missing bits cost in memory, time and words.</p>"
    '<button type="button" id="theme-switch" aria-label="Switch between light and dark">'
    '<span aria-hidden="true">◐</span></button></div>'
)
EMPTY = (
    '<div class="empty"><p><b>Press Compare.</b> Each ticked precision answers the prompt in a column of its own, '
    "one after the other so that the timings are true.</p><p>Then you see which words changed, where each answer "
    "first differs from the most precise one, and what it took in memory and time.</p>"
    '<p class="faint">Ctrl + Enter compares, Escape stops.</p></div>'
)


def rail_fold(before_ids: str = "") -> str:
    """The button that folds the rail away and brings it back; folded, it says what is chosen there (see `scripts`)."""
    return (
        f'<button type="button" id="{before_ids}rail-fold" class="rail-fold" aria-expanded="true" '
        f'aria-controls="{before_ids}rail"><span class="rail-arrow" aria-hidden="true"></span>'
        '<span class="rail-title">Model and precisions</span><span class="rail-chosen faint"></span></button>'
    )


def caution(text: str) -> str:
    """A sentence that must be read before the figures; empty without one."""
    return f'<p class="caution"><span aria-hidden="true">⚠</span> {escape(text)}</p>' if text else ""


def of_the_weights(model: Model | None) -> str:
    """What is to be known of a model's weights, beside every result of theirs."""
    return caution((model and model.caution) or "")


RACE_WARNING = caution("A race runs all variants at once. They slow each other down, so their timings do not count.")


def calibration() -> str:
    """Which precisions read a text while they are quantized, and how much of it."""
    read_by: list[str] = []
    for method in METHODS.values():
        names = [precision.name for precision in method.precisions if method.calibrated(precision)]
        read_by += [method.title] if names and len(names) == len(method.precisions) else names
    return (
        f'<p class="setting-head">Calibration ({", ".join(read_by)})</p><p class="faint">While quantizing they read so '
        "many samples of so many tokens, of the bundled text unless you give your own. No sample is longer than the "
        f"model’s context, and AWQ reads at most {MOST_SAMPLES} samples of {MOST_LENGTH} tokens.</p>"
    )


@cache
def definitions() -> str:
    """docs/measurement.md, folded, at the foot of the page; the figures' names lead to its anchors."""
    from markdown_it import MarkdownIt

    text = (DOCS / "measurement.md").read_text(encoding="utf-8")
    # The page has a first heading of its own.
    lower = re.sub(r"^#", "##", text.partition("\n")[2], flags=re.MULTILINE)
    body = MarkdownIt("commonmark").enable("table").render(lower)
    return f'<details class="definitions"><summary>What each number means</summary>{body}</details>'


def about_model(description: str, kind: str) -> str:
    """What a model is: its first sentence stands out, what else is known of it follows."""
    first, _, more = (description[:1].upper() + description[1:]).removesuffix(".").partition(". ")
    told = (f"<b>{escape(first)}.</b> " if first else "") + (f"{escape(more)}. " if more else "")
    return f'<p class="about-model">{told}<span class="faint">{escape(kind)}</span></p>'


def problem(found: Problem | None) -> str:
    """One clear card for an error of the whole comparison; empty without one."""
    if found is None:
        return ""
    advice = f'<p class="advice">{escape(found.advice)}</p>' if found.advice else ""
    return (
        f'<div class="fault banner" role="alert"><p class="fault-what"><span aria-hidden="true">✕</span> '
        f"{escape(found.what)}</p>{advice}</div>"
    )


def added(found: Problem) -> str:
    """Why a published checkpoint was not added, beside the control."""
    advice = f" {escape(found.advice)}" if found.advice else ""
    return f'<p class="added added-not" role="alert"><span aria-hidden="true">✕</span> {escape(found.what)}{advice}</p>'


def added_row(row: Row, *, full: bool) -> str:
    """What became of a checkpoint that was added; `full`: no more columns are free."""
    name = escape(row.estimate.precision.name)
    if row.estimate.unavailable is not None:
        said = f"{name} is in the list, but cannot be ticked: it {escape(row.estimate.unavailable)}."
    elif full:
        said = f"{name} is in the list. Untick another one to tick it."
    else:
        said = f"{name} is in the list and ticked."
    return f'<p class="added" role="status">{said}</p>'


def saving(done: int, total: int, what: str) -> str:
    """How far writing a quantized model is."""
    share = f' max="{total}" value="{min(done, total)}"' if total else ""
    return (
        f'<div class="saving"><progress aria-label="quantizing"{share}></progress>'
        f'<p class="status">{escape(what) or "starting"}</p></div>'
    )


def saved(folder: str, nbytes: int, seconds: float, reused: bool) -> str:
    """Where a quantized model was written, and how large it is."""
    how = "copied from the cache, quantized earlier in" if reused else "quantized in"
    return (
        f'<p class="status saved" role="status"><span aria-hidden="true">✓</span> Written to <code>{escape(folder)}'
        f'</code>: <span title="{units.exact_bytes(nbytes)}">{units.size(nbytes)}</span>, {how} '
        f"{units.seconds(seconds)}.</p>"
    )


def status(view: View, *, running: bool) -> str:
    """One line on the whole comparison. It changes with states, not with tokens: it is read aloud."""
    notice = f" {escape(view.notice)}" if view.notice else ""
    if view.replayed and view.comparison is not None and not running:
        return replayed(view.comparison)
    return f'<p class="status" role="status">{escape(_status(view, running))}{notice}</p>'


def replayed(comparison: Comparison) -> str:
    """That what is shown was measured another time: when, and on what."""
    machine = comparison.machine
    where = machine.cpu if machine.device.startswith("cpu") else f"{machine.cpu}, device {machine.device}"
    return (
        '<p class="status replayed" role="status"><b>Nothing ran:</b> this is the comparison of '
        f"{comparison.started.astimezone():%Y-%m-%d %H:%M %Z}, on {escape(where)}. The same greedy comparison gives "
        "the same words; to measure its times anew, tick “Measure again” under Settings.</p>"
    )


def _status(view: View, running: bool) -> str:
    total, ended = len(view.columns), len(view.ended)
    if running:
        if not view.columns:
            return "Reading the prompt …"
        if not view.active:
            return f"{ended} of {total} have answered."
        names = ", ".join(column.precision for column in view.active)
        return f"{_doing(view.active[0])} {names} ({min(ended + 1, total)} of {total})."
    if view.problem is not None or not view.columns:
        return ""
    failed = sum(column.state == "failed" for column in view.columns)
    if any(column.state == "stopped" for column in view.columns):
        return "Stopped. What was written so far stays."
    return f"{total - failed} of {total} have answered." if failed else f"All {total} have answered."


def _doing(column: Column) -> str:
    return {"loading": "Loading", "warming": "Warming up", "timing": "Timing again:"}.get(column.state, "Writing:")


def waiting() -> str:
    return '<p class="status" role="status">Waiting for a free place: one comparison runs at a time.</p>'


def stopping() -> str:
    return '<p class="status" role="status">Stopping …</p>'


def left_queue() -> str:
    return said("Left the queue. Nothing ran.")


def link_copied(left_out: Sequence[str]) -> str:
    """That the link is there, and what of the choice it does not hold."""
    without = f", without {' and without '.join(left_out)}" if left_out else ""
    return said(f"Link copied{without}.")


def said(text: str) -> str:
    return f'<p class="status" role="status">{escape(text)}</p>'


def prompt_tokens(view: View) -> str:
    """The prompt as the model reads it, token by token, folded away. Its line is there as soon as there are columns."""
    if not view.columns:
        return ""
    pieces = zip(view.prompt_tokens, view.prompt_token_ids, strict=True)
    items = "".join(
        f"<li><code>{escape(text) or '&nbsp;'}</code><small>{number}</small></li>" for text, number in pieces
    )
    count = f"{len(view.prompt_token_ids)} tokens" if view.prompt_token_ids else "…"
    return (
        f'<details class="prompt-tokens"><summary>The prompt as the model reads it: {count}</summary>'
        f'<ol aria-label="tokens of the prompt with their ids">{items}</ol></details>'
    )


def verdict(view: View) -> str:
    """Which precision to take. Its room is there as soon as there are columns."""
    if len(view.columns) < 2:
        return ""
    if view.comparison is None:
        return '<p class="which faint">Which one to take stands here when all have answered.</p>'
    told = one_prompt.which(view.comparison)
    return f'<p class="which">{escape(told)}</p>' if told else ""


def legend(view: View, switch: str = "show-theirs") -> str:
    """What the marks in the columns mean. It stands from the start, so that nothing moves when the marks come.

    `switch` is the id of the box that shows what the reference says.
    """
    if not view.columns:
        return ""
    cautioned = of_the_weights(view.model)
    if len(view.columns) < 2:
        return cautioned
    name = escape(view.reference) or "the reference"
    return (
        f'{cautioned}<div class="legend"><span><ins>only here</ins></span>'
        f"<span><del><span>only in {name}</span></del></span>"
        f'<label class="tick"><input type="checkbox" id="{switch}"> show what {name} says instead</label></div>'
    )

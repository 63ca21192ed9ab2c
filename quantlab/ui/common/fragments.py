"""The small pieces of HTML around the columns; their markup is in fragments.html."""

from collections.abc import Sequence

from quantlab.methods import METHODS
from quantlab.methods.awq import MOST_LENGTH, MOST_SAMPLES
from quantlab.records import Comparison, Model, units
from quantlab.reporting import definitions as measurement
from quantlab.reporting.advice import one_prompt
from quantlab.reporting.templates import Pieces
from quantlab.ui.common.precision_list import Row
from quantlab.ui.common.problem import Problem
from quantlab.ui.compare.view import Column, View
from quantlab.ui.turns.turns import Place, words

_HTML, _PIECES = Pieces("ui/common/fragments.html"), Pieces("ui/common/pieces.html")
HEADER = _HTML.masthead()
EMPTY = _HTML.empty()


def rail_fold(before_ids: str = "") -> str:
    """The button that folds the rail away and brings it back; folded, it says what is chosen there (see `scripts`)."""
    return _HTML.rail_fold(before_ids)


def caution(text: str) -> str:
    """A sentence that must be read before the figures; empty without one."""
    return _PIECES.caution(text)


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
    return _HTML.calibration(", ".join(read_by), MOST_SAMPLES, MOST_LENGTH)


def definitions() -> str:
    """docs/measurement.md, folded, at the foot of the page; the figures' names lead to its anchors."""
    return _HTML.definitions(measurement.definitions())


def about_model(description: str, kind: str, facts: str = "") -> str:
    """What a model is: its first sentence stands out, what else is known of it follows, at last what its files say."""
    first, _, more = (description[:1].upper() + description[1:]).removesuffix(".").partition(". ")
    return _HTML.about_model(first, more, kind, facts)


def problem(found: Problem | None) -> str:
    """One clear card for an error of the whole comparison; empty without one."""
    return _HTML.problem(found) if found is not None else ""


def added(found: Problem) -> str:
    """Why something was not added, beside the control."""
    return _HTML.not_added(found)


def added_row(row: Row, *, full: bool) -> str:
    """What became of what was added; `full`: no more columns are free."""
    name = row.estimate.precision.name
    if row.estimate.unavailable is not None:
        said = f"{name} is in the list, but cannot be ticked: it {row.estimate.unavailable}."
    elif full:
        said = f"{name} is in the list. Untick another one to tick it."
    else:
        said = f"{name} is in the list and ticked."
    return _HTML.added(said)


def saving(done: int, total: int, what: str) -> str:
    """How far writing a quantized model is."""
    return _HTML.saving(what, total, min(done, total))


def saved(folder: str, nbytes: int, seconds: float, reused: bool) -> str:
    """Where a quantized model was written, and how large it is."""
    how = "copied from the cache, quantized earlier in" if reused else "quantized in"
    return _HTML.saved(folder, units.exact_bytes(nbytes), units.size(nbytes), how, units.seconds(seconds))


def status(view: View, *, running: bool) -> str:
    """One line on the whole comparison. It changes with states, not with tokens: it is read aloud."""
    if view.replayed and view.comparison is not None and not running:
        return replayed(view.comparison)
    return said(f"{_status(view, running)} {view.notice}" if view.notice else _status(view, running))


def replayed(comparison: Comparison) -> str:
    """That what is shown was measured another time: when, and on what."""
    machine = comparison.machine
    where = machine.cpu if machine.device.startswith("cpu") else f"{machine.cpu}, device {machine.device}"
    return _HTML.replayed(f"{comparison.started.astimezone():%Y-%m-%d %H:%M %Z}", where)


def _status(view: View, running: bool) -> str:
    total, ended = len(view.columns), len(view.ended)
    if running:
        if not view.columns:
            return "Reading the prompt …"
        if not view.active:
            return f"{ended} of {total} have answered."
        names = ", ".join(column.precision for column in view.active)
        return f"{_doing(view.active[0])} {names} ({min(ended + 1, total)} of {total})."
    if view.problem is not None:
        return ""
    return outcome([column.state for column in view.columns], "have answered", "What was written so far stays.")


def outcome(states: Sequence[str], done: str, stopped: str) -> str:
    """How many of a run's precisions are `done` now that it is over; what is told once it was `stopped`."""
    failed = sum(state == "failed" for state in states)
    if "stopped" in states:
        return f"Stopped. {stopped}"
    if not states:
        return ""
    return f"{len(states) - failed} of {len(states)} {done}." if failed else f"All {len(states)} {done}."


def _doing(column: Column) -> str:
    return {"loading": "Loading", "warming": "Warming up", "timing": "Timing again:"}.get(column.state, "Writing:")


def waiting(place: Place | None = None) -> str:
    """Said at once of what was asked, and then with its place in the queue."""
    return _HTML.waiting(words(place) if place is not None else "")


def stopping() -> str:
    return said("Stopping …")


def left_queue() -> str:
    return said("Left the queue. Nothing ran.")


def link_copied(left_out: Sequence[str]) -> str:
    """That the link is there, and what of the choice it does not hold."""
    without = f", without {' and without '.join(left_out)}" if left_out else ""
    return said(f"Link copied{without}.")


def program(code: str) -> str:
    """A program to read, folded away: it is copied already."""
    return _HTML.program(code)


def said(text: str) -> str:
    return _HTML.said(text)


def prompt_tokens(view: View) -> str:
    """The prompt as the model reads it, token by token, folded away. Its line is there as soon as there are columns."""
    if not view.columns:
        return ""
    count = units.counted(len(view.prompt_token_ids), "token") if view.prompt_token_ids else "…"
    return _HTML.prompt_tokens(count, zip(view.prompt_tokens, view.prompt_token_ids, strict=True))


def verdict(view: View) -> str:
    """Which precision to take. Its room is there as soon as there are columns."""
    if len(view.columns) < 2:
        return ""
    if view.comparison is None:
        return _HTML.which("Which one to take stands here when all have answered.", " faint")
    told = one_prompt.which(view.comparison)
    return _HTML.which(told) if told else ""


def legend(view: View, switch: str = "show-theirs") -> str:
    """What the marks in the columns mean. It stands from the start, so that nothing moves when the marks come.

    `switch` is the id of the box that shows what the reference says.
    """
    if not view.columns:
        return ""
    cautioned = of_the_weights(view.model)
    if len(view.columns) < 2:
        return cautioned
    return cautioned + _HTML.legend(view.reference or "the reference", switch)

"""The history tab's HTML: what was measured when, where and with what, and the answers."""

from collections.abc import Sequence

from quantlab.errors import QuantlabError
from quantlab.export import record_data
from quantlab.history import Entry
from quantlab.records import Comparison, Machine, Quality, units
from quantlab.records.events import Done, QualityDone, QualityStarted, Started
from quantlab.reporting import advice
from quantlab.reporting.charts import style
from quantlab.reporting.templates import Pieces
from quantlab.ui.common import fragments
from quantlab.ui.compare import column, view
from quantlab.ui.history.entry_list import state
from quantlab.ui.quality import fragments as quality_fragments
from quantlab.ui.quality import table
from quantlab.ui.quality import view as quality_view

_HTML, _PIECES = Pieces("ui/history/fragments.html"), Pieces("ui/common/pieces.html")
NOTHING_KEPT, CONFIRM, WHOSE = _HTML.nothing_kept(), _HTML.confirm(), _HTML.whose()
PICK_ONE = _HTML.remark("Open one of the list to see it here.")
#: The box under the answers has an id of its own: the compare tab is on the same page.
SHOW_THEIRS = "kept-show-theirs"
# Of a prompt no more is shown, in characters.
_PROMPT = 2_000


def stamp(record: Comparison | Quality) -> str:
    """Date and time with the zone: "2026-01-02 03:04 UTC"."""
    return f"{record.started.astimezone():%Y-%m-%d %H:%M %Z}"


def on(machine: Machine) -> str:
    """A machine in words."""
    own = f", device {machine.device} with {units.size(machine.device_memory_bytes)}"
    device = "" if machine.device.startswith("cpu") else own
    cores = f"{machine.cores} core{'' if machine.cores == 1 else 's'}"
    return f"{machine.cpu} ({cores}, {units.size(machine.memory_bytes)}{device}, {machine.system})"


def with_versions(record: Comparison | Quality) -> str:
    return ", ".join(f"{name} {version}" for name, version in record.versions.items())


def kind_of(record: Comparison | Quality) -> str:
    return "Comparison" if isinstance(record, Comparison) else "Quality"


def model_name(record: Comparison | Quality) -> str:
    """The model with its revision; of a folder its name alone, as an export has it."""
    revision = f" at {record.model.revision[:12]}" if record.model.revision else ""
    return f"{record_data(record)['model']['name']}{revision}"


def head(record: Comparison | Quality | None, entry: Entry | None, elsewhere: bool) -> str:
    """What is open: title, state, a sentence with its date, machine and versions. `elsewhere`: it cannot be resumed."""
    if record is None:
        title = f"{entry.kind.capitalize()} of {entry.model}" if entry else ""
        return _HTML.title(title, state(entry) if entry else "")
    about = f"Measured {stamp(record)} on {on(record.machine)} with {with_versions(record)}."
    return _HTML.head(
        f"{kind_of(record)} of {model_name(record)}",
        badge=state(entry) if entry else _HTML.not_kept(),
        prompt=_prompt(record),
        about=f"{about} {_how(record)}",
        missing=_missing(record, entry, elsewhere),
    )


def _prompt(record: Comparison | Quality) -> str | None:
    if isinstance(record, Quality):
        return None
    return record.prompt if len(record.prompt) <= _PROMPT else f"{record.prompt[:_PROMPT]} …"


def _how(record: Comparison | Quality) -> str:
    if isinstance(record, Quality):
        return ""
    asked = record.settings
    drawn = f"sampled with seed {asked.seed}" if asked.sample else "greedy"
    raced = " in a race, so its times do not count" if asked.race else ""
    return f"At most {units.counted(asked.max_new_tokens, 'new token')}, {drawn}{raced}."


def _missing(record: Comparison | Quality, entry: Entry | None, elsewhere: bool) -> str:
    if entry is None or entry.state == "done":
        return ""
    if entry.state == "running":
        return "It is being worked on now: open it again later."
    whole = {run.precision for run in record.runs if not run.stopped and not run.error}
    what = f"Not complete: {', '.join(name for name in entry.precisions if name not in whole)}."
    then = (
        "It was measured elsewhere, so it cannot be resumed here."
        if elsewhere
        else "Resume goes on with what is missing, and runs the reference once more where others are set beside it."
    )
    return f"{what} {then}"


def answers(comparison: Comparison) -> str:
    """The columns of a comparison, as the compare tab shows them at its end."""
    names = tuple(run.precision for run in comparison.runs)
    ids, tokens = comparison.prompt_token_ids, comparison.prompt_tokens
    shown = view.fold(view.View(), Started(names, comparison.reference, ids, tokens, comparison.model))
    shown = view.fold(shown, Done(comparison))
    longest = comparison.settings.max_new_tokens
    cards = [column.render(one, shown, colour=style.colour(one.precision), new_tokens=longest) for one in shown.columns]
    return _HTML.columns(fragments.legend(shown, SHOW_THEIRS), cards) if cards else _no_runs()


def figures(quality: Quality) -> str:
    """The table of a quality run, as the quality tab shows it at its end, and the recommendation."""
    if not quality.runs:
        return _no_runs()
    names = tuple(sorted((run.precision for run in quality.runs), key=lambda name: name != quality.reference))
    shown = quality_view.QualityView(tasks=quality.settings.tasks)
    shown = quality_view.fold(shown, QualityStarted(names, quality.reference, quality.text, quality.model), 0.0)
    shown = quality_view.fold(shown, QualityDone(quality), 0.0)
    title = f"Which one to take, if {advice.KLD_BOUND:g} nats are near enough"
    return _HTML.figures(table.render(shown), title, _advice(quality))


def _advice(quality: Quality) -> str:
    try:
        found = advice.advise(quality, advice.KLD_BOUND)
    except (QuantlabError, ValueError, ArithmeticError):  # figures of a file from elsewhere may be anything
        return ""
    return quality_fragments.advice(found)


def _no_runs() -> str:
    return _HTML.remark("No precision came to its end.")


def progress(shown: "view.View | quality_view.QualityView") -> str:
    """One line on a run that is resumed."""
    if isinstance(shown, view.View):
        return fragments.status(shown, running=True)
    return _PIECES.joined([quality_fragments.status(shown, running=True), quality_fragments.progress(shown)])


def listed(words: Sequence[str]) -> str:
    """A list in HTML; empty without items."""
    return _PIECES.told(words)

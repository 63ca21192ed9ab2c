"""Two records of one kind side by side: the figures of both for each precision, and how they relate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from quantlab.errors import BadInput
from quantlab.export.tables import task_names
from quantlab.fidelity import summary
from quantlab.fidelity.summary import with_error
from quantlab.measure import trust
from quantlab.measure.statistics import mean, median
from quantlab.records import Comparison, Quality, QualityRun, Run, Timing, units
from quantlab.reporting.templates import Pieces
from quantlab.ui.history import fragments as html

Record = Comparison | Quality
SAME = "same"
_HTML = Pieces("ui/history/side_by_side.html")


@dataclass(frozen=True)
class Measure:
    """One figure. `of` reads it off a run, None where it was not measured; `told` shows it.

    `points` sets the two beside each other by B - A, in percent points, in place of B / A. `anchor` as in the columns.
    `of_text`: it follows from the text that was read and from the reference, so that it relates to none of another.
    `alike`: it is a time, which relates to another only where both bear it (see `trust`), and says whether two differ.
    """

    name: str
    of: Callable[[Any], float | None]
    told: Callable[[Any], str]
    anchor: str
    points: bool = False
    of_text: bool = False
    told_of: Callable[[Any], str] | None = None
    alike: Callable[[Any, Any], bool] | None = None

    def shown(self, run: Any) -> str:
        """The figure of a run as text, with its error where it has one."""
        value = self.of(run)
        return units.NONE if value is None else self.told_of(run) if self.told_of else self.told(value)


def _timing(read: Callable[[Any], float | None]) -> Callable[[Run], float | None]:
    return lambda run: read(run.timing) if run.timing else None


def _load(name: str) -> Callable[[Run | QualityRun], float | None]:
    return lambda run: getattr(run.load, name) if run.load else None


def _fidelity(read: Callable[[Any], float | None]) -> Callable[[QualityRun], float | None]:
    return lambda run: read(run.fidelity) if run.fidelity else None


def _doubt(a: Run | QualityRun, b: Run | QualityRun) -> str:
    return next((f"{letter}: {why}" for letter, run in (("A", a), ("B", b)) if (why := trust.doubt(run))), "")


def _alike_speed(a: Run | QualityRun, b: Run | QualityRun) -> bool:
    return not trust.apart(a, b)


def _alike_first(a: Run, b: Run) -> bool:
    return not trust.differ(a.ttft_s, b.ttft_s, a.ttft_samples, b.ttft_samples)


_SPEED = Measure(
    "Speed", lambda run: run.decode_tokens_per_s, units.rate, "decode_tokens_per_s", told_of=trust.speed,
    alike=_alike_speed,
)  # fmt: skip


def _middle(timing: Timing) -> float | None:
    return median(timing.itl_s)


_WEIGHTS = (
    Measure("Weights stored", _load("stored_bytes"), units.size, "stored_bytes"),
    Measure("Bits per weight", _load("bits_per_weight"), units.number, "bits_per_weight"),
)
COMPARISON = (
    *_WEIGHTS,
    Measure("Load", _load("took_s"), units.seconds, "load_s"),
    Measure(
        "First token after", lambda run: run.ttft_s, units.seconds, "ttft_s",
        told_of=lambda run: units.seconds(run.ttft_s) + trust.around(run.ttft_samples), alike=_alike_first,
    ),
    Measure("Between tokens, median", _timing(_middle), units.seconds, "itl_s", alike=lambda *_: False),
    _SPEED,
    Measure("Peak", lambda run: run.peak.bytes if run.peak else None, units.size, "peak_bytes"),
    Measure("Distance (KLD)", lambda run: mean([it.kld for it in run.differences]), units.nats, "kld", of_text=True),
    Measure(
        "Same likeliest token", lambda run: mean([float(it.same_top) for it in run.differences]), units.percent,
        "same_top", points=True, of_text=True,
    ),
)  # fmt: skip
QUALITY = (
    *_WEIGHTS,
    _SPEED,
    Measure(
        "Distance (mean KLD)", _fidelity(lambda it: it.kld.mean), units.nats, "kld", of_text=True,
        told_of=lambda run: with_error(run.fidelity.kld.mean, run.fidelity.kld.se, "nats"),
    ),
    Measure("Distance, 99th percentile", _fidelity(lambda it: it.kld.p99), units.nats, "kld", of_text=True),
    Measure(
        "Same likeliest token", _fidelity(lambda it: it.same_top), units.percent, "same_top", points=True, of_text=True,
    ),
    Measure(
        "Perplexity", _fidelity(lambda it: it.ppl.value), units.number, "ppl", of_text=True,
        told_of=lambda run: with_error(run.fidelity.ppl.value, run.fidelity.ppl.se),
    ),
    Measure("Perplexity ratio", _fidelity(lambda it: it.ppl.ratio), lambda value: f"{value:.4f}", "ppl", of_text=True),
)  # fmt: skip


def _task(name: str) -> Measure:
    def accuracy(run: QualityRun) -> float | None:
        return run.tasks[name].acc if name in run.tasks else None

    def describe(run: QualityRun) -> str:
        return summary.accuracy(run.tasks[name])

    return Measure(f"Accuracy, {name}", accuracy, units.percent, "task-accuracy", points=True, told_of=describe)


def render(a: Record, b: Record) -> str:
    """Both records as HTML: who is who, what is not alike, the table. Raises BadInput for two of different kinds."""
    if type(a) is not type(b):
        raise BadInput(
            "A comparison and a quality run have no figures in common.", "Choose two of one kind to set side by side."
        )
    cards = [_card(letter, record) for letter, record in (("A", a), ("B", b))]
    return _HTML.beside(cards, html.listed(unlike(a, b)), _table(a, b))


def _card(letter: str, record: Record) -> tuple[str, str, str, str, str]:
    about = f"{html.kind_of(record)} of {html.model_name(record)}, reference {record.reference}"
    return letter, html.stamp(record), about, html.on(record.machine), html.with_versions(record)


def unlike(a: Record, b: Record) -> list[str]:
    """What keeps the figures of two records from being compared as they stand, in words."""
    said = []
    if html.model_name(a) != html.model_name(b):
        said.append(f"The models differ: {html.model_name(a)} and {html.model_name(b)}.")
    if isinstance(a, Comparison) and isinstance(b, Comparison) and a.prompt_token_ids != b.prompt_token_ids:
        said.append("The prompts differ, so answers and distances are of different texts.")
    if isinstance(a, Quality) and isinstance(b, Quality) and a.text != b.text:
        said.append("Different texts, or different lengths of one, were read: distances are of different tokens.")
    if a.reference != b.reference:
        said.append(f"Distances are from {a.reference} in A and from {b.reference} in B.")
    if {run.metrics for run in a.runs} != {run.metrics for run in b.runs}:
        said.append("Their figures follow definitions of different versions: distances and errors are not of one kind.")
    if a.machine.cpu != b.machine.cpu or a.machine.device != b.machine.device:
        said.append("They ran on different machines, so their times differ by the machine too.")
    if isinstance(a, Comparison) and isinstance(b, Comparison) and (a.settings.race or b.settings.race):
        said.append("Times taken in a race do not count.")
    settings = [it.name for it in fields(a.settings) if getattr(a.settings, it.name) != getattr(b.settings, it.name)]
    if settings:
        said.append(f"Other settings: {', '.join(name.replace('_', ' ') for name in settings)}.")
    changed = [it for it in dict.fromkeys((*a.versions, *b.versions)) if a.versions.get(it) != b.versions.get(it)]
    if changed:
        said.append(f"Other versions: {', '.join(changed)}.")
    return said


def _table(a: Record, b: Record) -> str:
    names = dict.fromkeys(run.precision for record in (a, b) for run in record.runs)
    return _HTML.table([_group(name, a, b) for name in names])


@dataclass(frozen=True)
class Row:
    """One figure: that of A, that of B and how they relate, each as text with what is shown on hover, or None."""

    name: str
    cells: tuple[tuple[str, str | None], ...]
    anchor: str = ""


@dataclass(frozen=True)
class Group:
    """The rows of one precision. `note` says why there are none."""

    name: str
    note: str
    rows: tuple[Row, ...]


def _group(name: str, a: Record, b: Record) -> Group:
    runs: list[Any] = [next((run for run in record.runs if run.precision == name), None) for record in (a, b)]
    why = [_why_none(letter, run) for letter, run in zip("AB", runs, strict=True)]
    if any(why):
        return Group(name, " ".join(filter(None, why)), ())
    alike = _alike(a, b)
    rows = [_row(it, runs[0], runs[1], alike or not it.of_text) for it in _measures(a, b)]
    if isinstance(a, Comparison) and isinstance(b, Comparison):
        rows.append(_answer(a, b, a.run(name), b.run(name)))
    return Group(name, "", tuple(row for row in rows if row is not None))


def _why_none(letter: str, run: Run | QualityRun | None) -> str:
    if run is None:
        return f"Not in {letter}."
    return f"Failed in {letter}: {run.error}" if run.error else ""


def _measures(a: Record, b: Record) -> Sequence[Measure]:
    if isinstance(a, Quality) and isinstance(b, Quality):
        return (*QUALITY, *map(_task, dict.fromkeys((*task_names(a), *task_names(b)))))
    return COMPARISON


def _alike(a: Record, b: Record) -> bool:
    """Whether distances of both are of the same tokens, from the same reference."""
    if isinstance(a, Comparison) and isinstance(b, Comparison):
        return a.prompt_token_ids == b.prompt_token_ids and a.reference == b.reference
    return isinstance(a, Quality) and isinstance(b, Quality) and a.text == b.text and a.reference == b.reference


def _row(measure: Measure, a: Any, b: Any, related: bool) -> Row | None:
    values = [measure.of(run) for run in (a, b)]
    if values == [None, None]:
        return None
    told, why = relation(*values, points=measure.points) if related else units.NONE, ""
    if measure.alike and None not in values and told != SAME:
        why = _doubt(a, b)
        told = "not compared" if why else "no difference" if measure.alike(a, b) else told
    exact = ["" if value is None else repr(value) for value in values]
    cells = zip((measure.shown(a), measure.shown(b), told), (*exact, why), strict=True)
    return Row(measure.name, tuple(cells), measure.anchor)


def relation(a: float | None, b: float | None, *, points: bool = False) -> str:
    """B to A: their ratio, or with `points` the difference of two shares in percent points."""
    if a is None or b is None:
        return units.NONE
    if a == b:
        return SAME
    if points:
        return f"{'+' if b > a else ''}{units.number(100 * (b - a), 2)} pp"
    return units.ratio(b / a) if a > 0 else units.NONE


def _answer(a: Comparison, b: Comparison, ours: Run, theirs: Run) -> Row | None:
    """Whether one prompt had one answer; nothing is said of two prompts."""
    if a.prompt_token_ids != b.prompt_token_ids:
        return None
    first, second = ours.token_ids, theirs.token_ids
    pairs = zip(first, second, strict=False)
    parts = next((place for place, (one, other) in enumerate(pairs) if one != other), None)
    same = SAME if first == second else "same as far as both go"
    told = same if parts is None else f"first differs at token {parts}"
    return Row(
        "Answer",
        tuple((text, None) for text in (units.counted(len(first), "token"), units.counted(len(second), "token"), told)),
    )

"""The quality tab's first result: a row for each precision, filled in as they are measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from quantlab.fidelity.summary import accuracy, is_floor, with_error, within_floor
from quantlab.measure import trust
from quantlab.records import Fidelity, Quality, QualityRun, TaskScore, units
from quantlab.reporting.charts import style
from quantlab.reporting.templates import Pieces
from quantlab.ui.common import fragments
from quantlab.ui.compare.figures import narrow_bits
from quantlab.ui.quality.view import QualityView, Variant

_HTML, _PIECES = Pieces("ui/quality/table.html"), Pieces("ui/common/pieces.html")
_DOING = {"waiting": "waiting", "loading": "loading …", "measuring": "measuring …", "stopped": "stopped"}


@dataclass(frozen=True)
class Cell:
    """A figure, a smaller line beneath it, and what hovering tells."""

    value: str = units.NONE
    beneath: str = ""
    exact: str = ""


@dataclass(frozen=True)
class Row:
    """A precision's figures; `why` in their place where it failed. `told` is what it does now."""

    name: str
    state: str
    told: str
    colour: str
    glyph: str
    is_reference: bool
    cells: tuple[Cell, ...] = ()
    why: str | None = None


@dataclass(frozen=True)
class FloorRow:
    """The noise floor's own row, there from the start."""

    told: str
    cells: tuple[Cell, ...]


#: Name for people, the field's term beneath, the anchor of its definition.
HEADS = (
    ("Distance", "mean KLD, nats", "kld"),
    ("Same likeliest token", "same_top", "same_top"),
    ("Perplexity ratio", "to the reference’s", "ppl"),
    ("Weights", "stored_bytes", "stored_bytes"),
    ("Speed", "decode tokens/s", "decode_tokens_per_s"),
)


def render(view: QualityView) -> str:
    """The whole table; empty before the rows are known. Every row has its height from the start."""
    if not view.variants:
        return ""
    tasks = _tasks(view)
    about, text = _about(view)
    card = _HTML.card(
        caution=fragments.of_the_weights(view.model),
        about=about,
        text=text,
        heads=HEADS,
        tasks=tasks,
        rows=[_row(one, view, tasks) for one in view.variants],
        floor=_floor_row(view, len(HEADS) + len(tasks)),
    )
    return _PIECES.joined([card, _HTML.foot(_describe_floor(view.quality), _notes(view))])


def _tasks(view: QualityView) -> tuple[str, ...]:
    """Those asked for, and the ones that a group of tasks turned out to hold."""
    answered = [name for one in view.variants if one.run for name in one.run.tasks]
    kept = [name for name in view.tasks if name in answered or not answered]
    return tuple(dict.fromkeys((*kept, *answered)))


def _about(view: QualityView) -> tuple[str, str]:
    """The reference and what is read, or else what is waited for and nothing."""
    if view.text is None:
        return ("Waiting for a free place …" if view.at == 0 else "Reading the text …"), ""
    text = view.text
    windows = f"{text.windows} window{'' if text.windows == 1 else 's'}"
    return view.reference, (
        f"Text: {text.name}, {text.scored:,} tokens scored in {windows} of {text.window_tokens}. Errors (±) are "
        "standard errors by windows."
    )


def _row(one: Variant, view: QualityView, tasks: Sequence[str]) -> Row:
    reference = one.precision == view.reference
    look = style.look(one.precision)
    told = "failed" if one.state == "failed" else _DOING.get(one.state, _took(one))
    run = one.run
    row = Row(one.precision, one.state, told, look.colour, look.glyph, reference)
    if one.state == "failed" and run is not None:
        return replace(row, why=f"{run.error or ''} {run.advice}")
    fidelity = run.fidelity if run else None
    cells = (
        *_fidelity(fidelity, view.quality, reference),
        _memory(one),
        _speed(run),
        *(_score(run.tasks.get(task) if run else None) for task in tasks),
    )
    return replace(row, cells=cells)


def _took(one: Variant) -> str:
    return f"measured in {units.seconds(one.took_s)}" if one.took_s is not None else "measured"


def _fidelity(found: Fidelity | None, quality: Quality | None, reference: bool) -> tuple[Cell, Cell, Cell]:
    if found is None:
        return Cell(), Cell(), Cell()
    ppl = found.ppl
    same_se = "?" if found.same_top_se is None else units.percent(found.same_top_se)
    value = f"perplexity {with_error(ppl.value, ppl.se)}"
    if reference:
        return (
            Cell("0", "by definition"),
            Cell(units.percent(1.0), "by definition"),
            Cell("1", value, f"{ppl.value!r}"),
        )
    remark = "within the noise floor" if quality and within_floor(quality, found.kld.mean) else ""
    excluded = trust.few(found.tokens) or (f"{found.excluded:,} positions left out" if found.excluded else "")
    return (
        Cell(with_error(found.kld.mean, found.kld.se), excluded or remark, f"{found.kld.mean!r} nats"),
        Cell(units.percent(found.same_top), f"± {same_se}", f"{found.same_top!r}"),
        Cell(
            with_error(ppl.ratio, ppl.ratio_se),
            f"{value}: below 1 is noise" if ppl.ratio < 1 else value,
            f"ratio {ppl.ratio!r}, perplexity {ppl.value!r}",
        ),
    )


def _speed(run: QualityRun | None) -> Cell:
    if run is None or not run.decode_tokens_per_s:
        return Cell()
    each = ", ".join(units.number(speed) for speed in run.decode_samples)
    exact = f"{run.decode_tokens_per_s!r} tokens/s{f', the median of {each}' if each else ''}"
    doubt = trust.doubt(run)
    count = len(run.decode_samples)
    beneath = "not compared" if doubt else f"median of {count}"
    return Cell(trust.speed(run), beneath, f"{exact}: {doubt}" if doubt else exact)


def _memory(one: Variant) -> Cell:
    if one.load is None:
        return Cell()
    bits = f"{units.number(one.load.bits_per_weight)} bits per weight" if one.load.bits_per_weight else ""
    return Cell(units.size(one.load.stored_bytes), bits, units.exact_bytes(one.load.stored_bytes))


def _score(score: TaskScore | None) -> Cell:
    if score is None:
        return Cell()
    value = accuracy(score)
    if score.flips_lost is None or score.flips_won is None:
        return Cell(value, f"{score.items:,} items", f"{score.acc!r}")
    flips = f"lost {units.percent(score.flips_lost)}, won {units.percent(score.flips_won)}"
    return Cell(value, flips, f"McNemar's p: {units.number(score.mcnemar_p)}")


def _floor_row(view: QualityView, columns: int) -> FloorRow:
    found = view.quality.noise_floor if view.quality else None
    state = "" if found else "there is none" if view.quality else "known at the end"
    of = view.quality
    own = next((run.precision for run in of.runs if is_floor(of, run)), None) if found and of else None
    cells = [*_fidelity(found, None, False)] if found else [Cell()] * 3
    if own is not None:
        cells = [Cell(f"that of {own}"), Cell(), Cell()]
    cells += [Cell("")] * (columns - len(cells))
    return FloorRow(state or "mere rounding", tuple(cells))


def _describe_floor(quality: Quality | None) -> str:
    """One sentence, with a line's room from the start."""
    if quality is None:
        return "The noise floor is how far mere rounding moves the reference: a distance below it is no difference."
    if quality.noise_floor is None:
        return f"The noise floor tells how far mere rounding moves the reference; {quality.floor}."
    return (
        f"The noise floor is how far mere rounding moves the reference ({quality.floor}): a distance below it is "
        "no difference."
    )


def _of_bits(quality: Quality) -> list[tuple[str, str]]:
    """Why a precision of few bits has more of them a weight."""
    narrow = [(run.precision, narrow_bits(run.load)) for run in quality.runs if run.load]
    inside = ", ".join(f"{name} {units.number(bits)}" for name, bits in narrow if bits)
    if not inside:
        return []
    return [
        ("bits per weight", f"of the whole model: embeddings and norms stay wider. Its quantized layers: {inside}.")
    ]


def _notes(view: QualityView) -> list[tuple[str, str]]:
    """What belongs to a variant's figures, once the run has ended: until then nothing moves."""
    if view.quality is None:
        return []
    told = [(run.precision, note) for run in view.quality.runs for note in dict.fromkeys(run.notes)]
    return told + _of_bits(view.quality)

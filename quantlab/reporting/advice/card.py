"""A section for a model card in Markdown: what each precision costs, measured on what, how to repeat and run it."""

import math
import re
from collections.abc import Sequence

from quantlab.export import codec
from quantlab.export.common import model_data
from quantlab.export.tables import line
from quantlab.fidelity.summary import compared, why_absent, with_error
from quantlab.measure import trust
from quantlab.records import Quality, QualityRun, units
from quantlab.reporting.advice import KLD_BOUND, Advice, advise, words
from quantlab.reporting.advice.recipes import Recipe, recipes
from quantlab.reporting.advice.repeating import command, one_line

_COLUMNS = (
    *("precision", "bits per weight", "stored memory", "mean KLD, nats", "95 % interval", "perplexity ratio"),
    "decode speed, tok/s",
)
_ROOT = r"(?:~|[A-Za-z]:)?[/\\]"
#: A path that begins at a root or at home: between quotation marks whatever it holds, else to the next space.
_PATH = re.compile(rf"(?<=(?P<mark>['\"`])){_ROOT}.*?(?=(?P=mark))|(?<![\w./\\~:]){_ROOT}[^\s'\"`,;()]*[^\s'\"`,;:.()]")
_TERMS = (
    "KLD is the Kullback-Leibler divergence of the next token's probabilities from the reference's; its ± is one "
    "standard error. The ratio of perplexities is to the reference's. Speed is the median of several answers, one "
    "sequence at a time, ± their standard deviation. MB = 1,000,000 bytes."
)


def card(
    quality: Quality,
    asked: Sequence[str] = (),
    bound: float = KLD_BOUND,
    memory: int | None = None,
    context: int | None = None,
) -> str:
    """The section. `asked` are the columns as they were typed, where a published one's name is shorter; `bound` and
    `memory` as in `advise`, `context` as in `recipe`. Of paths only the last names are told.
    """
    found, text, machine = advise(quality, bound, memory), quality.text, quality.machine
    name, revision = model_data(quality.model)["name"], quality.model.revision
    device = "" if machine.device.startswith("cpu") else f", {line(machine.device)}"
    floor = quality.noise_floor
    at = f" at revision `{_code(revision)}`" if revision else ""
    parts = [
        f"## What quantization costs {line(name)}",
        "",
        f"Distance to `{_code(quality.reference)}`{at} over {text.scored:,} tokens of {line(text.name)}: every "
        f"precision read the same {units.counted(text.windows, 'window')} of {text.window_tokens:,} tokens. {_TERMS}",
        "",
        *_table(quality),
        "",
        *_remarks(quality),
        *([f"- Weights: {line(quality.model.caution)}"] if quality.model.caution else []),
        *([f"- Rounding noise: a KLD of {units.nats(floor.kld.mean)} ({line(quality.floor)})"] if floor else []),
        *_recommended(found, _doubts(quality)),
        f"- Hardware: {line(machine.cpu)}, cores: {machine.cores}{device}, {line(machine.system)}",
        f"- Date: {quality.started:%Y-%m-%d}",
        f"- Versions: {', '.join(f'{line(name)} {line(version)}' for name, version in quality.versions.items())}",
        "",
        "Measured with quantlab. To repeat it:",
        "",
        *_fenced("sh", command(quality, asked, bound, memory)),
    ]
    for one in recipes(quality, found, context, private=True):
        parts += _recipe(one)
    return codec.whole("\n".join(parts) + "\n")


def _table(quality: Quality) -> list[str]:
    rows = [_COLUMNS, ("---", *["---:"] * (len(_COLUMNS) - 1))]
    rows += [(f"`{_code(run.precision)}`", *_cells(quality, run)) for run in quality.runs]
    return [f"| {' | '.join(cells)} |" for cells in rows]


def _cells(quality: Quality, run: QualityRun) -> tuple[str, ...]:
    load, found = run.load, run.fidelity
    bits = units.number(load.bits_per_weight) if load else units.NONE
    speed = f"{units.number(run.decode_tokens_per_s)}{trust.around(run.decode_samples)}"
    if run.decode_tokens_per_s and trust.doubt(run):
        speed += " (doubted)"
    if run.precision == quality.reference and found:
        distance = ("0 (reference)", units.NONE, f"1 (perplexity {units.number(found.ppl.value, 4)})")
    elif found and run.precision in {it.precision for it in compared(quality)}:
        low, high = words.interval(found)
        interval = "not known" if high == math.inf else f"{units.number(low)} to {units.number(high)}"
        few = " (few positions)" if words.few(found) else ""
        distance = (
            words.kld(found).removesuffix(" nats") + few,
            interval,
            with_error(found.ppl.ratio, found.ppl.ratio_se),
        )
    else:
        distance = (units.NONE,) * 3
    return (bits, units.size(load.stored_bytes) if load else units.NONE, *distance, speed)


def _remarks(quality: Quality) -> list[str]:
    """What keeps figures of the table from being taken as they stand."""
    said = []
    for run in quality.runs:
        if run.error is not None:
            said.append(f"{run.precision} failed and has no figures: {_without_places(run.error)}")
        elif run.stopped:
            said.append(f"{run.precision} was stopped before all of it was measured.")
        elif run.fidelity is None:
            said.append(f"{run.precision}: {why_absent(quality, run)}.")
        elif few := trust.few(run.fidelity.tokens):
            said.append(f"The distance of {run.precision} is {few}.")
    if doubts := _doubts(quality):
        said.append(f"Speeds that bear no claim: {doubts}")
    return [f"- {line(each)}" for each in said]


def _without_places(error: str) -> str:
    """An error of this machine, of whose paths the last names stay."""
    return _PATH.sub(lambda found: codec.last_name(found[0]), error)


def _doubts(quality: Quality) -> str:
    timed = [run for run in quality.runs if run.error is None and run.decode_tokens_per_s]
    return trust.Verdict(doubts={run.precision: why for run in timed if (why := trust.doubt(run))}).why_not


def _recommended(found: Advice, doubts: str) -> list[str]:
    """What is recommended; without what the remarks on speeds say already."""
    return [f"- {line(each)}" for each in found.recommendations if not doubts or doubts not in each]


def _recipe(one: Recipe) -> list[str]:
    parts = ["", f"### To run `{_code(one.precision)}`", "", line(one.said)]
    for block in one.blocks:
        parts += ["", *([block.about, ""] if block.about else []), *_fenced(block.language, block.code)]
    return parts


def _fenced(language: str, code: str) -> list[str]:
    """A block of code that nothing in it can end."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", code)), default=0))
    return [f"{fence}{language}", code, fence]


def _code(name: str) -> str:
    """A name between backticks in a table, in which nothing of it is markup."""
    return one_line(name).replace("`", "'").replace("|", "\\|")

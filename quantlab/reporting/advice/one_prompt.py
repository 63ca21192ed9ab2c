"""What one prompt tells: of each column a line, of all of them which to take, or that one prompt cannot tell.

Pure: records in, words out. What the words mean stands in docs/measurement.md under "Verdicts of one prompt".
"""

import itertools
import math

from quantlab.fidelity.summary import ROUNDINGS
from quantlab.measure import paired, trust
from quantlab.measure.statistics import mean
from quantlab.records import Comparison, Run, units
from quantlab.reporting.advice.words import listed

#: Mean KLD in nats up to which a difference is slight: as `KLD_BOUND`, some 5 % more perplexity, exp(0.05).
SLIGHT = 0.05
#: And from which an answer is ruined: a perplexity two thirds higher, exp(0.5), as of a much smaller model.
RUINED = 0.5
RUINED_GRADE = "ruined"
_GRADES = {"slight": "slight difference", "plain": "plain difference"}
#: Neighbouring tokens hang together: their blocks are taken as samples, as for a text of one window.
_BLOCKS = 8


def distance(run: Run) -> float | None:
    """A run's mean KLD from the reference, in nats; None where nothing was compared, or it is no number."""
    found = mean([it.kld for it in run.differences]) if run.differences else None
    return found if found is not None and math.isfinite(found) else None


def noise_floor(runs: tuple[Run, ...], reference: str) -> float | None:
    """The distance of the reference's second rounding, in nats, where a column has it: what lies no farther differs by
    rounding alone."""
    return next((distance(run) for run in runs if run.precision == ROUNDINGS.get(reference)), None)


def grade(kld: float, floor: float | None = None) -> str:
    """A distance in a word or two: within the noise floor, slight, plain or ruined."""
    if floor is not None and kld <= floor:
        return "within the noise floor"
    return "slight" if kld <= SLIGHT else "plain" if kld < RUINED else RUINED_GRADE


def line(run: Run, reference: Run | None, floor: float | None) -> str:
    """One column in a line: memory, speed, the same until where, how far; empty where there is nothing to say."""
    if run.error is not None or reference is None or run is reference:
        return ""
    said = (_memory(run, reference), _speed(run, reference), _words(run, reference), _distance(run, floor))
    return " · ".join(filter(None, said))


def _memory(run: Run, reference: Run) -> str:
    if not _stored(run) or not _stored(reference):
        return ""
    return f"{_multiple(_stored(run) / _stored(reference))} memory"


def _multiple(value: float) -> str:
    return f"{value:.2f}×" if value < 10 else f"{value:.0f}×"


def _stored(run: Run) -> int:
    return run.load.stored_bytes if run.load else 0


def _speed(run: Run, reference: Run) -> str:
    related = trust.relation(run, reference)
    if related == units.NONE:
        return ""
    return "as fast" if related == "no difference" else f"{_multiple(_rate(run) / _rate(reference))} speed"


def _rate(run: Run) -> float:
    return run.decode_tokens_per_s or math.nan


def _words(run: Run, reference: Run) -> str:
    where = run.first_divergence
    if where is not None:
        return f"same words until token {where.index}" if where.index else "other words from the start"
    if not run.tokens:
        return ""
    return "same words as far as written" if run.stopped or reference.stopped else "same words"


def _distance(run: Run, floor: float | None) -> str:
    kld = distance(run)
    if kld is None:
        return ""
    if trust.few(len(run.differences)):
        return f"{units.nats(kld)} apart on too few tokens to say more"
    graded = grade(kld, floor)
    return f"{_GRADES.get(graded, graded)} ({units.nats(kld)})"


def interval(run: Run) -> tuple[float, float]:
    """The 95 % confidence interval of a run's mean KLD, in nats, from blocks of neighbouring tokens.

    Ends nowhere where the tokens are too few, or no error is known.
    """
    klds = [it.kld for it in run.differences]
    if len(klds) < trust.POSITIONS or (middle := distance(run)) is None:
        return 0.0, math.inf
    bounds = [len(klds) * place // _BLOCKS for place in range(_BLOCKS + 1)]
    blocks = [mean(klds[start:end]) for start, end in itertools.pairwise(bounds)]
    found = paired.estimate(blocks)
    margin = found.margin if found else 0.0 if len(set(blocks)) == 1 else math.inf
    return max(0.0, middle - margin), middle + margin


def which(comparison: Comparison) -> str:
    """Which to take by this prompt and why, or that one prompt cannot tell; empty where nothing is to be chosen."""
    reference = next((run for run in comparison.runs if run.precision == comparison.reference), None)
    others = [run for run in comparison.runs if run is not reference and run.error is None and run.load]
    if reference is None or reference.error is not None or reference.load is None or not others:
        return ""
    if comparison.model.meaningless:
        return "The weights are random: memory and speed are true, the words and their distance say nothing."
    others.sort(key=_stored)
    smaller = [run for run in others if _stored(run) < _stored(reference)]
    if not smaller:
        return f"None of them is smaller than {reference.precision}."
    close = [run for run in smaller if interval(run)[1] <= SLIGHT]
    unsure = [run for run in smaller if interval(run)[0] <= SLIGHT < interval(run)[1]]
    if not close:
        return _none(reference, unsure)
    best = close[0]
    told = (
        f"Take {best.precision}: the smallest that stays close to {reference.precision} on this prompt "
        f"({_multiple(_stored(best) / _stored(reference))} memory, {units.nats(distance(best))} apart)."
    )
    open_ = [run.precision for run in unsure if _stored(run) < _stored(best)]
    more = f" Whether {listed(open_)} would do, one prompt cannot tell." if open_ else ""
    return f"{told}{more} One prompt is one sample: Quality measures it over a whole text."


def _none(reference: Run, unsure: list[Run]) -> str:
    if unsure:
        names = listed([run.precision for run in unsure])
        return f"Which to take, one prompt cannot tell: {names} may or may not stay close. Measure their quality."
    return f"None of the smaller ones stays close to {reference.precision} on this prompt: take one with more bits."

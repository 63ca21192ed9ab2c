"""Whether figures bear a claim: who is faster, and what a few positions say. Figures in, verdict and reason out.

Whatever shows or says that one precision is faster than another asks here. The rules stand in docs/measurement.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from quantlab.measure.statistics import deviation, mean
from quantlab.records import CpuUse, units

#: So many answers are timed before any is called faster: the scatter of fewer is not known.
ANSWERS = 3
#: Answers that differ by more (standard deviation over mean) were disturbed: alone, a decode loop keeps its pace.
DISTURBED = 0.15
#: Others may take so much of what our threads compute on, and in any case so many seconds: clocks tick each 0.01 s.
_TAKEN, _TICKS_S = 0.1, 0.05
#: Where the system does not tell what others take: a load above so much of the cores, and so little of them for us.
_LOADED, _STARVED = 1.25, 0.7
#: Speeds nearer to each other may change places when measured again, whatever their scatter was.
_NEAR = 0.05
#: So many reasons are told in one sentence; the tables have all of them.
_REASONS = 2
#: Figures of fewer positions decide nothing: one position more or less would turn them round.
POSITIONS = 16


class Timed(Protocol):
    """A run whose speed was measured, of a comparison or of a quality run."""

    @property
    def precision(self) -> str: ...

    @property
    def decode_samples(self) -> tuple[float, ...]: ...

    @property
    def cpu(self) -> CpuUse | None: ...

    @property
    def decode_tokens_per_s(self) -> float | None: ...


@dataclass(frozen=True)
class Verdict:
    """`fastest` is the one that is, None where none can be named. `near` may be as fast as the one that leads.

    `doubts` says of each whose speed bears no claim why; where there is one, nothing is said of the others either.
    """

    fastest: str | None = None
    near: tuple[str, ...] = ()
    doubts: Mapping[str, str] | None = None

    @property
    def why_not(self) -> str:
        """The doubts in words, those with one reason together; empty without any."""
        by_reason: dict[str, list[str]] = {}
        for name, reason in (self.doubts or {}).items():
            by_reason.setdefault(reason, []).append(name)
        told = [f"{_listed(names)}: {reason}." for reason, names in list(by_reason.items())[:_REASONS]]
        more = [name for names in list(by_reason.values())[_REASONS:] for name in names]
        return " ".join([*told, *([f"Doubted as well: {_listed(more)}."] if more else [])])


def spread(samples: Sequence[float]) -> float | None:
    """The standard deviation (of n - 1) over the mean; None of fewer than two, and where they have no mean."""
    return _spread(tuple(samples))


@lru_cache(maxsize=256)  # the page asks for the same ones at each event
def _spread(samples: tuple[float, ...]) -> float | None:
    top = max(samples, default=0.0)
    if len(samples) < 2 or not 0 < top < math.inf or not all(map(math.isfinite, samples)):
        return None
    scaled = [sample / top for sample in samples]  # squares of the largest numbers are infinite
    middle, apart = mean(scaled), deviation(scaled)
    return apart / middle if middle and apart is not None else None


def around(samples: Sequence[float]) -> str:
    """The spread as it stands behind a figure: " ± 3 %"; empty where it is not known."""
    found = spread(samples)
    if found is None:
        return ""
    percent = 100 * found
    return f" ± {percent:.0f} %" if percent >= 0.95 else f" ± {percent:.1f} %" if percent >= 0.05 else " ± < 0.1 %"


def speed(run: Timed) -> str:
    """A decode speed with its spread: "41.2 tok/s ± 3 %"."""
    return units.rate(run.decode_tokens_per_s) + (around(run.decode_samples) if run.decode_tokens_per_s else "")


def answers(samples: Sequence[float]) -> str:
    """What a figure is the median of, and how far that lies apart: "median of 3 answers, 40.1 to 42.3"."""
    if len(samples) < 2:
        return "one answer"
    return f"median of {len(samples)} answers, {units.number(min(samples))} to {units.number(max(samples))}"


def doubt(run: Timed) -> str:
    """Why a run's speed bears no claim, in words; empty where it does."""
    if not getattr(run, "timings_count", True):
        return "it ran in a race, in which all slow each other down"
    if run.cpu is not None and (busy := _busy(run.cpu)):
        return f"the machine was busy: {busy} while it was timed"
    count = len(run.decode_samples)
    if count < ANSWERS:
        return f"only {'one answer was' if count < 2 else f'{count} answers were'} timed"
    found = spread(run.decode_samples)
    if found is None or found > DISTURBED:
        return f"its speed differed too much from answer to answer ({around(run.decode_samples).strip() or '± ?'})"
    return ""


def _busy(cpu: CpuUse) -> str:
    """Who took what our threads would have computed on."""
    threads = max(1, min(cpu.threads, cpu.cores))
    if not cpu.wall_s > 0:
        return ""
    if cpu.others_s is not None:
        idle_s = (cpu.cores - threads) * cpu.wall_s
        lost = cpu.others_s - idle_s
        if lost <= max(_TAKEN * threads * cpu.wall_s, _TICKS_S):
            return ""
        return f"other programs took {cpu.others_s / cpu.wall_s:.1f} of {_cores(cpu.cores)}"
    ours = cpu.own_s / cpu.wall_s
    if cpu.load is None or cpu.load <= _LOADED * cpu.cores or ours >= _STARVED * threads:
        return ""
    return f"its load was {cpu.load:.1f} on {_cores(cpu.cores)}, and this program got {ours:.1f} of them"


def _cores(count: int) -> str:
    return f"{count} core{'' if count == 1 else 's'}"


def apart(one: Timed, other: Timed) -> bool:
    """Whether two speeds that bear a claim differ by more than the spread of both, and by more than 5 %."""
    return differ(one.decode_tokens_per_s, other.decode_tokens_per_s, one.decode_samples, other.decode_samples)


def differ(one: float | None, other: float | None, samples: Sequence[float], others: Sequence[float]) -> bool:
    """The same of two figures, each the median of its samples. One that is not known differs from nothing."""
    if one is None or other is None:
        return False
    scattered = (spread(samples) or 0.0) * one + (spread(others) or 0.0) * other
    return abs(one - other) > max(_NEAR * max(one, other), scattered)


def verdict(runs: Sequence[Timed]) -> Verdict:
    """Which of the runs with a speed is the fastest. Of less than two nothing is said."""
    timed = [run for run in runs if run.decode_tokens_per_s]
    if len(timed) < 2:
        return Verdict()
    if doubts := {run.precision: why for run in timed if (why := doubt(run))}:
        return Verdict(doubts=doubts)
    if len({_node(run) for run in timed}) > 1:
        return Verdict(
            doubts={run.precision: f"it ran on {_node(run) or 'this machine'}, others elsewhere" for run in timed}
        )
    best, *others = sorted(timed, key=lambda run: -(run.decode_tokens_per_s or 0.0))
    near = tuple(run.precision for run in others if not apart(best, run))
    return Verdict(None, (best.precision, *near)) if near else Verdict(best.precision)


def said(runs: Sequence[Timed]) -> str:
    """The verdict as a sentence with its figures, or the reason why there is none; empty where there is no question."""
    found, named = verdict(runs), {run.precision: run for run in runs}
    if found.fastest:
        best = named[found.fastest]
        return f"Fastest: {best.precision}, {speed(best)} in {len(best.decode_samples)} answers."
    if found.near:
        return f"{too_near([named[name] for name in found.near])}."
    return f"Which is the fastest is not said. {found.why_not}" if found.doubts else ""


def too_near(runs: Sequence[Timed]) -> str:
    """That no one of several is the fastest, with their figures; without a point at its end."""
    each = _listed([f"{run.precision} ({speed(run)})" for run in runs])
    return f"The fastest are {each}: they differ by no more than their spread, or 5 %, so that none of them is named"


def relation(run: Timed, reference: Timed | None) -> str:
    """How a speed relates to another: their ratio, or that there is no difference; "-" where one bears no claim."""
    if reference is None or not run.decode_tokens_per_s or not reference.decode_tokens_per_s:
        return units.NONE
    if run is reference:
        return units.ratio(1.0)
    if doubt(run) or doubt(reference) or _node(run) != _node(reference):
        return units.NONE
    if not apart(run, reference):
        return "no difference"
    return units.ratio(run.decode_tokens_per_s / reference.decode_tokens_per_s)


def _node(run: Timed) -> str:
    """The machine that it ran on: between two of them no speed is compared."""
    return getattr(run, "node", "")


def few(positions: int) -> str:
    """What to say beside figures of so few positions; empty where there are enough of them, or none."""
    if not 0 < positions < POSITIONS:
        return ""
    return f"from {positions} position{'' if positions == 1 else 's'} only: says little"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))

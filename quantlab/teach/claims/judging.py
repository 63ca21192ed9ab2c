"""What the rules share: a judgement, and the sentences of what is missing."""

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from quantlab.measure import trust
from quantlab.records import QualityRun, units
from quantlab.records.claims import FAILS, HOLDS, UNTESTED, Figure, Outcome
from quantlab.teach.claims.evidence import Evidence

#: A figure that lies within this share of a bound is near it.
NEAR = 0.05
Kind = Literal["at most", "at least", "less than", "more than"]
_KINDS: Mapping[Kind, Callable[[float, float], bool]] = {
    "at most": operator.le, "at least": operator.ge, "less than": operator.lt, "more than": operator.gt,
}  # fmt: skip


@dataclass(frozen=True)
class Judgement:
    outcome: Outcome
    why: str
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Claim:
    """`needs` names what must be found out for it: `plans`, `quality`, `tasks`, `first`, `codes`,
    `trials`, `training`, `merges`."""

    number: int
    text: str
    tested_by: str
    needs: tuple[str, ...]
    judge: Callable[[Evidence], Judgement]


@dataclass(frozen=True)
class Bound:
    """One condition of a rule: `value`, named by `what`, must lie at a `limit` or on one side of it.

    `apart` is False where the two cannot be told from each other by measuring, which the verdict says anyway.
    """

    what: str
    value: float
    kind: Kind
    limit: float
    unit: str = ""
    apart: bool = True

    @property
    def kept(self) -> bool:
        return _KINDS[self.kind](self.value, self.limit)

    @property
    def near(self) -> bool:
        """Whether it lies so near to the limit, on either side, that little more or less would have turned it."""
        return self.apart and math.isfinite(self.value) and abs(self.value - self.limit) <= NEAR * abs(self.limit)

    @property
    def told(self) -> str:
        """Both in as many digits as tell them apart, as far as six do."""
        digits = next((n for n in range(3, 7) if self._shown(n)[0] != self._shown(n)[1]), 3)
        value, limit = self._shown(digits)
        return f"{self.what} {value}, where the rule asks for {self.kind} {limit}"

    def _shown(self, digits: int) -> tuple[str, str]:
        if self.unit == "bytes":
            return f"{units.number(self.value / 1e9, digits)} GB", f"{units.number(self.limit / 1e9, digits)} GB"
        value = f"{self.value:,}" if isinstance(self.value, int) else units.number(self.value, digits)
        # One that a rule names is written as there.
        named = 0.01 <= abs(self.limit) < 1_000 and float(f"{self.limit:.3g}") == self.limit
        limit = f"{self.limit:g}" if named else units.number(self.limit, digits)
        return f"{value} {self.unit}".strip(), f"{limit} {self.unit}".strip()


def decided(holds: bool, why: str, *figures: Figure, bounds: Iterable[Bound] = ()) -> Judgement:
    """Whether a claim holds: as `holds` says, and with every bound kept. What hangs by little is said to."""
    found = tuple(bounds)
    broken = [it for it in found if not it.kept]
    if holds and not broken:
        close = [it for it in found if it.near]
    else:  # one that is broken by far decides it, and so does whatever has no bound
        close = broken if holds and all(it.near for it in broken) else []
    said = f"{why} Near its bound: {'; '.join(it.told for it in close)}." if close else why
    return Judgement(HOLDS if holds and not broken else FAILS, said, figures)


def untested(why: str, *figures: Figure) -> Judgement:
    first = why.split(" ", 1)[0]
    # A precision's name stays as it is written, and each has a digit.
    begun = why if any(it.isdigit() for it in first) else f"{why[:1].upper()}{why[1:]}"
    return Judgement(UNTESTED, f"{begun.rstrip('.')}.", figures)


def stored(run: QualityRun) -> int:
    """Bytes right after the load. Only for runs that loaded."""
    if run.load is None:
        raise ValueError(f"{run.precision} was not loaded")
    return run.load.stored_bytes


def off(what: str, value: float, claimed: float, most: float = 10.0) -> Bound:
    """That a figure is the claimed one within `most` percent of it; the claims are given to two digits."""
    return Bound(f"{what} is off by", 100 * abs(value - claimed) / claimed, "at most", most, "%")


def nbytes(name: str, value: int, measured: bool = True) -> Figure:
    return Figure(name, value, "bytes", measured)


def speed_doubt(*runs: QualityRun) -> str:
    """Why speeds cannot be held against each other; empty where they can (`measure.trust`)."""
    for run in runs:
        if not run.decode_tokens_per_s:
            return f"{run.precision} has no speed"
        if why := trust.doubt(run):
            return f"{run.precision}: {why}"
    return ""


def speeds(*runs: QualityRun) -> tuple[Figure, ...]:
    return tuple(Figure(f"{run.precision} decode speed", run.decode_tokens_per_s or 0.0, "tok/s") for run in runs)

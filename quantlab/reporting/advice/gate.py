"""Whether a quality run keeps limits, for scripts: each variant but the reference is held to each limit.

A limit is held only where that was measured. What failed, was stopped, is of too few positions, left positions out or
bears no claim (see `trust`) is "not measured", and never passes.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from quantlab.fidelity.summary import why_absent
from quantlab.measure import trust
from quantlab.records import Fidelity, Quality, QualityRun, units
from quantlab.reporting.advice import words

Outcome = Literal["held", "above", "below", "not measured"]
#: The outcome and the figure.
_Found = tuple[Outcome, str]
KLD, SPEED, MEMORY = "mean KLD", "decode speed", "stored memory"
#: float64 has no more.
_DIGITS = 17


@dataclass(frozen=True)
class Limits:
    """The most mean KLD in nats, the least decode speed in tokens/s, the most stored memory in bytes; None: no limit.

    Raises ValueError for one that is negative or not finite.
    """

    kld: float | None = None
    speed: float | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        if not all(0 <= it < math.inf for it in (self.kld, self.speed, self.memory) if it is not None):
            raise ValueError("a limit must be a finite number that is not negative")

    def __bool__(self) -> bool:
        return not self.kld is self.speed is self.memory is None


@dataclass(frozen=True)
class Check:
    """One variant held to one limit. `figure` and `limit` with their units; `why` there is no figure, else empty."""

    precision: str
    what: str
    outcome: Outcome
    limit: str
    figure: str = ""
    why: str = ""

    @property
    def broken(self) -> bool:
        return self.outcome in ("above", "below")

    @property
    def measured(self) -> bool:
        return self.outcome != "not measured"

    @property
    def sentence(self) -> str:
        """One line: "above: nf4, mean KLD 0.0488 ± 0.0015 nats, ...; limit 0.05 nats"."""
        found = f" {self.figure}" if self.measured else f": {self.why}"
        return f"{self.outcome}: {self.precision}, {self.what}{found}; limit {self.limit}"


@dataclass(frozen=True)
class Verdict:
    """Every check, variant by variant. `outcome` is that of the whole.

    "broken" goes before "not measured": measuring again may mend the one and never the other, and who tries again on
    the second must not do so where the answer is known. Nothing held to a limit is "not measured" too.
    """

    checks: tuple[Check, ...]

    @property
    def outcome(self) -> Literal["held", "broken", "not measured"]:
        if any(it.broken for it in self.checks):
            return "broken"
        return "held" if self.checks and all(it.measured for it in self.checks) else "not measured"


def judge(quality: Quality, limits: Limits) -> Verdict:
    """Each variant but the reference against each limit that is there."""
    variants = (run for run in quality.runs if run.precision != quality.reference)
    return Verdict(tuple(check for run in variants for check in _checks(quality, run, limits)))


def _checks(quality: Quality, run: QualityRun, limits: Limits) -> Iterator[Check]:
    if (most := limits.kld) is not None:
        yield _check(run, KLD, _nats(most), lambda: _kld(quality, run, most))
    if (least := limits.speed) is not None:
        yield _check(run, SPEED, f"{_plain(least)} tok/s", lambda: _speed(run, least))
    if (room := limits.memory) is not None:
        yield _check(run, MEMORY, _bytes(room), lambda: _memory(run, room))


def _check(run: QualityRun, what: str, limit: str, held: Callable[[], _Found | str]) -> Check:
    """`held` gives the outcome and the figure, or why there is none; it is asked where the run came to its end."""
    if run.error is not None:
        found: _Found | str = f"it failed. {run.error}"
    else:
        found = "it was stopped" if run.stopped else held()
    if isinstance(found, str):
        return Check(run.precision, what, "not measured", limit, why=found.rstrip("."))
    return Check(run.precision, what, found[0], limit, found[1])


def _kld(quality: Quality, run: QualityRun, limit: float) -> _Found | str:
    if run.fidelity is None:
        return why_absent(quality, run)
    if why := _no_kld(run.fidelity):
        return why
    low, high = words.interval(run.fidelity)
    figure = f"{words.kld(run.fidelity)}, 95 % interval {units.number(low)} to {_sided(high, limit)}"
    return ("above" if high > limit else "held"), figure


def _no_kld(found: Fidelity) -> str:
    """Why a mean KLD cannot be held against a limit; empty where it can."""
    if words.few(found):
        return f"it is from {units.counted(found.tokens, 'position')}, fewer than {trust.POSITIONS}"
    if found.excluded or not math.isfinite(found.kld.mean):
        return f"at {units.counted(found.excluded, 'position')} its logits, or the reference's, are no numbers"
    return "" if math.isfinite(words.upper(found)) else "its interval is not known, since the text is too short"


def _speed(run: QualityRun, limit: float) -> _Found | str:
    speed = run.decode_tokens_per_s
    if not speed:
        return "there is no speed"
    if why := trust.doubt(run):
        return why
    spread = trust.around(run.decode_samples)
    figure = f"{_sided(speed, limit)} tok/s{spread}, {trust.answers(run.decode_samples)}"
    return ("below" if speed < limit else "held"), figure


def _memory(run: QualityRun, limit: int) -> _Found | str:
    if run.load is None:
        return "nothing was loaded"
    stored = run.load.stored_bytes
    return ("above" if stored > limit else "held"), _bytes(stored)


def _bytes(n: int) -> str:
    """Rounded, and to the byte: a limit may lie between the two."""
    return units.size(n) if units.size(n) == units.exact_bytes(n) else f"{units.size(n)} ({units.exact_bytes(n)})"


def _nats(limit: float) -> str:
    return f"{_plain(limit)} nats"


def _plain(limit: float) -> str:
    """A limit as it was given."""
    return f"{limit:.15g}"


def _sided(value: float, limit: float) -> str:
    """Rounded, with as many digits as leave it on its side of the limit: 0.05001 is not shown as 0.0500."""
    for digits in range(3, _DIGITS):
        shown = units.number(value, digits)
        rounded = float(shown.replace(",", ""))
        if (rounded > limit, rounded < limit) == (value > limit, value < limit):
            return shown
    return repr(value)

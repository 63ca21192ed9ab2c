"""What the sentences share: a run's figures in words, lists of names."""

import math
from collections.abc import Sequence

from quantlab.fidelity.summary import with_error, within_floor
from quantlab.measure import paired, trust
from quantlab.records import Load, Quality, QualityRun


def upper(run: QualityRun) -> float:
    """The upper end of the 95 % confidence interval of a run's mean KLD, in nats; infinite where no error is known."""
    return interval(run)[1]


def interval(run: QualityRun) -> tuple[float, float]:
    """The 95 % confidence interval of a run's mean KLD, in nats: from the scatter of the windows' means; where there is
    one window alone, from its blocks (see docs/measurement.md).

    It ends nowhere where no error is known, and never begins below zero: no divergence lies there.
    """
    kld, found = run.fidelity.kld, paired.estimate(run.fidelity.window_kld)
    if found is None and kld.se is None:
        return 0.0, math.inf
    margin = found.margin if found else paired.critical(7) * kld.se
    return max(0.0, kld.mean - margin), kld.mean + margin


def in_noise(quality: Quality, run: QualityRun) -> bool:
    return within_floor(quality, run.fidelity.kld.mean)


def weight_bytes(load: Load) -> int:
    """What the weights take at most: kernels may repack them while they run."""
    return max(load.stored_bytes, load.running_bytes)


def few(run: QualityRun) -> bool:
    """Whether a run's distance is of so few positions that it decides nothing."""
    return run.fidelity.tokens < trust.POSITIONS


def kld(run: QualityRun) -> str:
    return with_error(run.fidelity.kld.mean, run.fidelity.kld.se, "nats")


def round_up(n: int, digits: int = 2) -> int:
    """`n` rounded up to that many digits: an estimate is no more exact."""
    step = 10 ** max(0, len(str(n)) - digits)
    return math.ceil(n / step) * step


def listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def is_(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def limit(nats: float) -> str:
    """A bound as it was given: it is no measured figure, and has no more digits."""
    return f"{nats:g} nats"

"""What the sentences share: a run's figures in words, lists of names."""

import math
from collections.abc import Sequence

from quantlab.fidelity.summary import with_error, within_floor
from quantlab.measure import paired, trust
from quantlab.records import Fidelity, Load, Quality


def upper(found: Fidelity) -> float:
    """The upper end of the 95 % confidence interval of a mean KLD, in nats; infinite where no error is known."""
    return interval(found)[1]


def interval(fidelity: Fidelity) -> tuple[float, float]:
    """The 95 % confidence interval of a run's mean KLD, in nats: from the scatter of the windows' means; where there is
    one window alone, from its blocks (see docs/measurement.md).

    It ends nowhere where no error is known, and never begins below zero: no divergence lies there.
    """
    kld, found = fidelity.kld, paired.estimate(fidelity.window_kld)
    if found is not None:
        margin = found.margin
    elif kld.se is not None:
        margin = paired.critical(7) * kld.se
    else:
        return 0.0, math.inf
    return max(0.0, kld.mean - margin), kld.mean + margin


def in_noise(quality: Quality, found: Fidelity) -> bool:
    return within_floor(quality, found.kld.mean)


def weight_bytes(load: Load) -> int:
    """What the weights take at most: kernels may repack them while they run."""
    return max(load.stored_bytes, load.running_bytes)


def few(found: Fidelity) -> bool:
    """Whether a distance is of so few positions that it decides nothing."""
    return found.tokens < trust.POSITIONS


def kld(found: Fidelity) -> str:
    return with_error(found.kld.mean, found.kld.se, "nats")


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

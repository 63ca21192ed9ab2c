"""Which runs of a quality have figures to set beside the reference's, and a figure with its error in words."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from quantlab.records import Fidelity, Quality, QualityRun, TaskScore, units

#: The same weights in another rounding: what such a pair differs by is noise, and a smaller difference is none.
ROUNDINGS: Mapping[str, str] = {"fp32": "bf16", "bf16": "fp32", "fp16": "fp32"}
#: A divergence below this many nats is drawn as zero: log-probabilities in float32 are no finer.
NOTHING = 1e-9
#: Said of such a run in place of its layers' errors.
SAME_LAYERS = "its weights are the reference's, so no layer makes an error of its own"
# More digits behind the point are written as a power of ten.
_DIGITS = 9


@dataclass(frozen=True)
class Compared:
    """A run that was compared with the reference, and its figures."""

    run: QualityRun
    fidelity: Fidelity

    @property
    def precision(self) -> str:
        return self.run.precision


def compared(quality: Quality) -> list[Compared]:
    """The runs whose fidelity is known. The reference is left out: its distance to itself is zero by definition."""
    return [
        Compared(run, run.fidelity) for run in quality.runs
        if run.error is None and run.fidelity is not None and math.isfinite(run.fidelity.kld.mean)
        and run.precision != quality.reference
    ]  # fmt: skip


def reference_run(quality: Quality) -> QualityRun | None:
    """The reference's own run, None where it failed or is not there."""
    return next((run for run in quality.runs if run.precision == quality.reference and run.error is None), None)


def why_absent(quality: Quality, run: QualityRun) -> str:
    """Why a run has no fidelity, where it has no error."""
    if run.precision == quality.reference:
        return "the reference"
    return "; ".join(run.notes) or "not compared"


def floor_kld(quality: Quality) -> float | None:
    """The noise floor's mean KLD in nats, None where there is no floor."""
    return None if quality.noise_floor is None else quality.noise_floor.kld.mean


def same_layers(run: QualityRun) -> bool:
    """Whether its layers were looked into and give what the reference's do: its weights are the reference's, and what
    parts it from that lies elsewhere, as keys and values at fewer bits do."""
    return bool(run.layers) and all(it.isolated == 0 == it.propagated for it in run.layers)


def within_floor(quality: Quality, kld: float) -> bool:
    """Whether a mean KLD does not exceed the noise floor, so that it is no difference."""
    floor = floor_kld(quality)
    return floor is not None and kld <= floor


def is_floor(quality: Quality, run: QualityRun) -> bool:
    """Whether a run is the one whose figures are the noise floor."""
    return run.fidelity is not None and run.fidelity == quality.noise_floor


def with_error(value: float | None, se: float | None, unit: str = "") -> str:
    """A figure and its standard error: "0.01234 ± 0.00041 nats"; "0.0123 ± ? nats" where that is not known."""
    if value is None:
        return units.NONE
    return f"{_figures(value, se)}{f' {unit}' if unit else ''}"


def accuracy(score: TaskScore) -> str:
    """The share of right answers in percent, with its standard error: all or none right leave it unknown."""
    return (
        with_error(100 * score.acc, 100 * score.acc_se, "%") if score.acc_se else f"{units.number(100 * score.acc)} %"
    )


def _figures(value: float, se: float | None) -> str:
    """To the digits that the error leaves, two of it: those after them say nothing."""
    if se is None or math.isnan(se):
        return f"{units.number(value)} ± ?"
    if not math.isfinite(value) or not 0 < se < math.inf:
        return f"{units.number(value)} ± {units.number(se, 2)}"
    digits = max(0, 1 - math.floor(math.log10(se)))
    if digits > _DIGITS:
        return f"{units.number(value)} ± {units.number(se, 2)}"
    return f"{value:,.{digits}f} ± {se:,.{digits}f}"

"""A quality run as plain data and back. Every field is described in docs/export.md."""

import itertools
from typing import Any

from quantlab.export import pieces, wire
from quantlab.records import Bucket, Fidelity, Quality, QualityRun, Spread

#: The run has notes of its own.
_NOTES = "load_notes"
_DELTA = {"delta_p_mean": "mean", "delta_p_rms": "rms"}


def quality_data(quality: Quality) -> dict[str, Any]:
    """What `quantlab quality --json` writes. A figure that is not finite becomes None: JSON has no such numbers."""
    floor = quality.noise_floor
    return {
        "schema": pieces.schema("quality"),
        "model": pieces.model_data(quality.model),
        **wire.parts(quality, leave=("model", "noise_floor", "runs")),
        "tokens": quality.text.tokens,
        "noise_floor": floor and _fidelity_data(floor),
        "runs": [quality_run_data(run) for run in quality.runs],
    }


def quality_from(data: Any) -> Quality:
    """The quality run that `quality_data` wrote. Its model lies nowhere: `folder` is None.

    Null comes back as None where the record may lack a figure, else as nan. Raises BadInput naming the field for
    what is not ours, was changed by hand or has a newer version.
    """
    data = pieces.checked(data, "quality")
    wire.obj(data, "", ("schema", "tokens", *wire.names(Quality)))
    return wire.members(
        Quality,
        data,
        "",
        model=pieces.model_from(wire.member(data, "model", Any, "")),
        noise_floor=_fidelity_from(wire.member(data, "noise_floor", Any, ""), "noise_floor"),
        runs=pieces.runs_from(data, quality_run_from),
    )


def quality_run_data(run: QualityRun) -> dict[str, Any]:
    """One run. The figures of its load are keys of it, null where nothing was loaded."""
    return {
        **wire.parts(run, leave=("load", "fidelity")),
        **pieces.load_data(run.load, _NOTES),
        "fidelity": run.fidelity and _fidelity_data(run.fidelity),
    }


def quality_run_from(data: Any, where: str = "run") -> QualityRun:
    """The run that `quality_run_data` wrote."""
    data = wire.obj(data, where, _RUN_KEYS)
    return wire.members(
        QualityRun,
        data,
        where,
        load=pieces.load_from(data, where, _NOTES),
        fidelity=_fidelity_from(wire.member(data, "fidelity", Any, where), f"{where}.fidelity"),
    )


def _fidelity_data(fidelity: Fidelity) -> dict[str, Any]:
    """The buckets are the KLD's, and the change of the next token's probability is one object."""
    told = wire.parts(fidelity, leave=("buckets", *_DELTA))
    told["kld"] |= {"buckets": wire.plain(fidelity.buckets)}
    told["delta_p"] = {key: wire.plain(getattr(fidelity, name)) for name, key in _DELTA.items()}
    return told


def _fidelity_from(value: Any, where: str) -> Fidelity | None:
    if value is None:
        return None
    data = wire.obj(value, where, _FIDELITY_KEYS)
    kld = wire.obj(wire.member(data, "kld", Any, where), f"{where}.kld", (*wire.names(Spread), "buckets"))
    delta = wire.obj(wire.member(data, "delta_p", Any, where), f"{where}.delta_p", _DELTA.values())
    fidelity = wire.members(
        Fidelity,
        data,
        where,
        kld=wire.members(Spread, kld, f"{where}.kld"),
        buckets=wire.member(kld, "buckets", tuple[Bucket, ...], f"{where}.kld"),
        **{
            name: wire.member(delta, key, wire.kind_of(Fidelity, name), f"{where}.delta_p")
            for name, key in _DELTA.items()
        },
    )
    for name in ("kld", "kld_reverse"):
        _check_order(getattr(fidelity, name), f"{where}.{name}")
    return fidelity


def _check_order(spread: Spread, where: str) -> None:
    """Raises BadInput where a quantile exceeds the next one, or the mean the largest. NaN exceeds nothing."""
    for lower, upper in (*itertools.pairwise(("median", "p90", "p99", "p999", "max")), ("mean", "max")):
        if getattr(spread, lower) > getattr(spread, upper) * (1 + 1e-6):
            raise wire.wrong(f"{where}.{lower}", f"it cannot be larger than {upper}")


_RUN_KEYS = frozenset(quality_run_data(QualityRun("")))
_FIDELITY_KEYS = {name for name in wire.names(Fidelity) if name != "buckets" and name not in _DELTA} | {"delta_p"}

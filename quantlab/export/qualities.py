"""A quality run as plain data and back. Every field is described in docs/export.md."""

import itertools
from typing import Any

from quantlab.export import codec, common
from quantlab.records import Bucket, Fidelity, Quality, QualityRun, Spread

#: The run has notes of its own.
_NOTES = "load_notes"
_DELTA = {"delta_p_mean": "mean", "delta_p_rms": "rms"}


def quality_data(quality: Quality) -> dict[str, Any]:
    """What `quantlab quality --json` writes. A figure that is not finite becomes None: JSON has no such numbers."""
    floor = quality.noise_floor
    return {
        "schema": common.schema("quality"),
        "model": common.model_data(quality.model),
        **codec.parts(quality, leave=("model", "noise_floor", "runs")),
        "tokens": quality.text.tokens,
        "noise_floor": floor and _fidelity_data(floor),
        "runs": [quality_run_data(run) for run in quality.runs],
    }


def quality_from(data: Any) -> Quality:
    """The quality run that `quality_data` wrote. Its model lies nowhere: `folder` is None.

    Null comes back as None where the record may lack a figure, else as nan. Raises BadInput naming the field for
    what is not ours, was changed by hand or has a newer version.
    """
    data = common.checked(data, "quality")
    codec.obj(data, "", ("schema", "tokens", *codec.names(Quality)))
    return codec.members(
        Quality,
        data,
        "",
        model=common.model_from(codec.member(data, "model", Any, "")),
        noise_floor=_fidelity_from(codec.member(data, "noise_floor", Any, ""), "noise_floor"),
        runs=common.runs_from(data, quality_run_from),
    )


def quality_run_data(run: QualityRun) -> dict[str, Any]:
    """One run. The figures of its load are keys of it, null where nothing was loaded."""
    return {
        **codec.parts(run, leave=("load", "fidelity")),
        **common.load_data(run.load, _NOTES),
        "fidelity": run.fidelity and _fidelity_data(run.fidelity),
    }


def quality_run_from(data: Any, where: str = "run") -> QualityRun:
    """The run that `quality_run_data` wrote."""
    data = codec.obj(data, where, _RUN_KEYS)
    found = _fidelity_from(codec.member(data, "fidelity", Any, where), f"{where}.fidelity")
    return codec.members(QualityRun, data, where, load=common.load_from(data, where, _NOTES), fidelity=found)


def _fidelity_data(fidelity: Fidelity) -> dict[str, Any]:
    """The buckets are the KLD's, and the change of the next token's probability is one object."""
    told = codec.parts(fidelity, leave=("buckets", *_DELTA))
    told["kld"] |= {"buckets": codec.plain(fidelity.buckets)}
    told["delta_p"] = {key: codec.plain(getattr(fidelity, name)) for name, key in _DELTA.items()}
    return told


def _fidelity_from(value: Any, where: str) -> Fidelity | None:
    if value is None:
        return None
    data = codec.obj(value, where, _FIDELITY_KEYS)
    kld = codec.obj(codec.member(data, "kld", Any, where), f"{where}.kld", (*codec.names(Spread), "buckets"))
    delta = codec.obj(codec.member(data, "delta_p", Any, where), f"{where}.delta_p", _DELTA.values())
    fidelity = codec.members(
        Fidelity,
        data,
        where,
        kld=codec.members(Spread, kld, f"{where}.kld"),
        buckets=codec.member(kld, "buckets", tuple[Bucket, ...], f"{where}.kld"),
        **{
            name: codec.member(delta, key, codec.kind_of(Fidelity, name), f"{where}.delta_p")
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
            raise codec.wrong(f"{where}.{lower}", f"it cannot be larger than {upper}")


_RUN_KEYS = frozenset(quality_run_data(QualityRun("")))
_FIDELITY_KEYS = {name for name in codec.names(Fidelity) if name != "buckets" and name not in _DELTA} | {"delta_p"}

"""A comparison as plain data and back. Every field is described in docs/export.md."""

from collections.abc import Mapping
from typing import Any

from quantlab.export import codec, common
from quantlab.records import Comparison, Peak, Run, Timing

#: Fields of `Timing` under the names that they have in a run.
_TIMING = {
    "warmup_ttft_s": "warmup_ttft_s",
    "ttft_s": "ttft_s",
    "itl_s": "itl_s",
    "prompt_tokens": "timed_prompt_tokens",
}
_NOTES = "notes"
_NESTED = ("load", "timing", "peak")


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """What `quantlab compare --json` writes. A figure that is not finite becomes None: JSON has no such numbers."""
    return {
        "schema": common.schema("comparison"),
        "model": common.model_data(comparison.model),
        **codec.parts(comparison, leave=("model", "runs")),
        "runs": [run_data(run) for run in comparison.runs],
    }


def comparison_from(data: Any) -> Comparison:
    """The comparison that `comparison_data` wrote. Its model lies nowhere: `folder` is None.

    Null comes back as None where the record may lack a figure, else as nan. Raises BadInput naming the field for
    what is not ours, was changed by hand or has a newer version.
    """
    data = common.checked(data, "comparison")
    codec.obj(data, "", ("schema", *codec.names(Comparison)))
    model = common.model_from(codec.member(data, "model", Any, ""))
    return codec.members(Comparison, data, "", model=model, runs=common.runs_from(data, run_from))


def run_data(run: Run) -> dict[str, Any]:
    """One run. The figures of its load and its times are keys of it, null where they were not measured."""
    timing, peak = run.timing, run.peak
    return {
        **codec.parts(run, leave=_NESTED),
        **common.load_data(run.load, _NOTES),
        **(codec.parts(timing, _TIMING) if timing else dict.fromkeys(_TIMING.values())),
        "decode_tokens_per_s": codec.plain(timing and timing.decode_tokens_per_s),
        "prefill_tokens_per_s": codec.plain(_prefill(timing)),
        "ttft_median_s": codec.plain(run.ttft_s),
        "decode_median_tokens_per_s": codec.plain(run.decode_tokens_per_s),
        "peak_bytes": codec.parts(peak) | {"estimate": peak.estimate} if peak else None,
    }


def run_from(data: Any, where: str = "run") -> Run:
    """The run that `run_data` wrote; rates and what else follows from other figures is derived again."""
    data = codec.obj(data, where, _RUN_KEYS)
    timed: dict[str, Any] = {"timing": _timing_from(data, where), "peak": _peak_from(data, where)}
    return codec.members(Run, data, where, load=common.load_from(data, where, _NOTES), **timed)


def _timing_from(data: Mapping[str, Any], where: str) -> Timing | None:
    if codec.member(data, "itl_s", Any, where) is None:
        common.nothing_else(data, [key for key in _TIMING.values() if key != "itl_s"], "itl_s", where)
        return None
    timing = codec.members(Timing, data, where, _TIMING)
    # Rates are divided by these.
    if timing.ttft_s <= 0:
        raise codec.wrong(f"{where}.ttft_s", "a time above zero is needed")
    if timing.itl_s and sum(timing.itl_s) == 0:
        raise codec.wrong(f"{where}.itl_s", "times above zero are needed")
    return timing


def _peak_from(data: Mapping[str, Any], where: str) -> Peak | None:
    found = codec.member(data, "peak_bytes", Any, where)
    if found is None:
        return None
    where = f"{where}.peak_bytes"
    return codec.members(Peak, codec.obj(found, where, (*codec.parts(Peak()), "estimate")), where)


def _prefill(timing: Timing | None) -> float | None:
    return timing.prefill_tokens_per_s if timing and timing.ttft_s else None


_RUN_KEYS = frozenset(run_data(Run("")))

"""Claims about code and about buckets: what printed lines do when they are run, which code a number gets."""

from quantlab.records.claims import Figure
from quantlab.teach.claims.evidence import Evidence, Trial
from quantlab.teach.claims.judging import Judgement, decided, untested

#: What the tutorial prints for its three numbers.
NUMBERS, PRINTED = (-0.4251, 0.1872, -0.0031), (-15, 6, 0)


def buckets(found: Evidence) -> Judgement:
    """Row 17: the codes of 8 bits by absmax are the printed ones."""
    if "int8 absmax" not in found.codes:
        return untested(found.missing.get("codes", "the codes were not computed"))
    codes = found.codes["int8 absmax"]
    told = " ".join(map(str, codes))
    return decided(
        codes == PRINTED,
        f"By the largest magnitude (0.4251 / 127) they become {told}. One scale gives all of -15, 6 and 0 only between "
        "0.02881 and 0.02932, which no rule gives.",
        *(Figure(f"code of {value}", code, "") for value, code in zip(NUMBERS, codes, strict=True)),
    )  # fmt: skip


def _trial(found: Evidence, name: str) -> Trial | str:
    return found.trials.get(name) or found.missing.get("trials", "it was not tried")


def int8_compute(found: Evidence) -> Judgement:
    """Row 14: with int8 as the type of products the program ends in an error, with the three floating types not."""
    tried = {name: _trial(found, f"compute {name}") for name in ("int8", "float16", "bfloat16", "float32")}
    for it in tried.values():
        if isinstance(it, str):
            return untested(it)
    errors = {name: it.error for name, it in tried.items() if isinstance(it, Trial)}
    right = not any(errors[name] for name in ("float16", "bfloat16", "float32"))
    said = errors["int8"] or "the program went through"
    return decided(
        bool(errors["int8"]) and right, f"With int8: {said}. With the three floating types it runs.",
        *(Figure(f"compute in {name}", error or "runs", "") for name, error in errors.items()),
    )  # fmt: skip


def as_printed(found: Evidence) -> Judgement:
    """Row 21: the printed call goes through."""
    tried = _trial(found, "as printed")
    if isinstance(tried, str):
        return untested(tried)
    works = _trial(found, "as it is written today")
    instead = "" if isinstance(works, str) or works.error else f" What works: {works.code}"
    said = tried.error or "it runs"
    return decided(not tried.error, f"{tried.code}: {said}.{instead}", Figure("as printed", said, ""))


def device_map(found: Evidence) -> Judgement:
    """Row 16 needs several devices: with one there is nothing that could be placed wrongly."""
    if found.devices < 2:
        return untested("there is one device here, on which everything lies with and without a map")
    return untested("how devices are chosen without a map was not tried on this machine")


def merging(found: Evidence) -> Judgement:
    """Row 24 needs a trained adapter."""
    return untested(found.missing.get("adapter", "no adapter was trained here"))

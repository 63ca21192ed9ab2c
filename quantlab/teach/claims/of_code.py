"""Claims about code and about buckets: what printed lines do when they are run, which code a number gets."""

from quantlab.records import units
from quantlab.records.claims import Figure
from quantlab.reporting.advice import KLD_BOUND
from quantlab.teach.claims.evidence import Evidence, Trial
from quantlab.teach.claims.judging import Bound, Judgement, decided, untested

#: What the tutorial prints for its three numbers.
NUMBERS, PRINTED = (-0.4251, 0.1872, -0.0031), (-15, 6, 0)


def buckets(found: Evidence) -> Judgement:
    """Row 17: the codes of 8 bits by absmax are the printed ones."""
    if "int8 absmax" not in found.codes:
        return untested(found.missing.get("codes", "the codes were not computed"))
    codes = found.codes["int8 absmax"]
    told = " ".join(map(str, codes))
    pairs = [(abs(value), abs(code)) for value, code in zip(NUMBERS, PRINTED, strict=True)]
    low = max(value / (code + 0.5) for value, code in pairs)
    high = min(value / (code - 0.5) for value, code in pairs if code)
    return decided(
        codes == PRINTED,
        f"By the largest magnitude (0.4251 / 127) they become {told}. Only a scale between {low:.5f} and {high:.5f} "
        "gives all of -15, 6 and 0, and none of the usual rules gives such a scale.",
        *(Figure(f"code of {value}", code, "") for value, code in zip(NUMBERS, codes, strict=True)),
    )  # fmt: skip


def _trial(found: Evidence, name: str) -> Trial | str:
    return found.trials.get(name) or found.missing.get("trials", "it was not tried")


def int8_compute(found: Evidence) -> Judgement:
    """Row 14: with int8 as the type of products the program ends in an error or gives something else (a mean KLD above
    the 0.05 nats that are called close), with the three floating types it does not.
    """
    tried = {name: _trial(found, f"compute {name}") for name in ("int8", "float16", "bfloat16", "float32")}
    for it in tried.values():
        if isinstance(it, str):
            return untested(it)
    ended = {name: it for name, it in tried.items() if isinstance(it, Trial)}
    wrong = {name: bool(it.error) or it.kld is None or it.kld > KLD_BOUND for name, it in ended.items()}
    said = {name: it.error or f"{units.nats(it.kld)} from float32" for name, it in ended.items()}
    figures = (Figure(name, it.error or it.kld or 0.0, "" if it.error else "nats") for name, it in ended.items())
    bounds = [
        Bound(f"{name} lies at", it.kld, "more than" if name == "int8" else "at most", KLD_BOUND, "nats")
        for name, it in ended.items()
        if not it.error and it.kld is not None
    ]
    holds = all(wrong[name] == (name == "int8") for name, it in ended.items() if it.error or it.kld is None)
    return decided(holds, f"{', '.join(f'{name}: {told}' for name, told in said.items())}.", *figures, bounds=bounds)


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

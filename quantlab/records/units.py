"""Numbers as people read them: two or three significant digits and always the unit; NONE for what was not measured.

Bytes are shown in MB = 10^6 and GB = 10^9, a few of them in bytes. Nothing here raises for any int, float or None.
"""

import math
import re

NONE = "-"
_PLAIN = re.compile(r"-?[\d,]+(\.\d+)?")
_HYPHEN = re.compile(r"(?<![\w)-])-(?=[\d.∞])|(?<=\de)-(?=\d)")


def _round(value: float, digits: int = 3) -> float:
    """`value` rounded to that many significant digits."""
    if value == 0 or not math.isfinite(value):
        return value
    return float(f"{value:.{digits - 1}e}")


def number(value: float | None, digits: int = 3) -> str:
    """`value` with that many significant digits: 0.0123, 2.30, 12.3, 1,230. Very small and very large ones: 1.2e-07."""
    if value is None:
        return NONE
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    rounded = _round(float(value), digits)
    if not 1e-5 <= abs(rounded) < 1e13:
        return f"{value:.{digits - 1}e}"
    return f"{rounded:,.{max(0, digits - 1 - math.floor(math.log10(abs(rounded))))}f}"


def apart(first: float, second: float) -> str:
    """By how much two numbers differ, without a sign, as `number` shows them: beside each other the three add up.

    The last digit is that of the coarser one, unless nothing would be left.
    """
    shown = [number(it) for it in (first, second)]
    if not all(_PLAIN.fullmatch(it) for it in shown):
        return number(abs(first - second))
    places = sorted(len(it.partition(".")[2]) for it in shown)
    off = abs(float(shown[0].replace(",", "")) - float(shown[1].replace(",", "")))
    told = f"{off:,.{places[0]}f}"
    return told if float(told.replace(",", "")) else f"{off:,.{places[1]}f}"


def minus(text: str) -> str:
    """A text with the sign that charts write before negative numbers; a hyphen within words stays."""
    return _HYPHEN.sub("−", text)


def _with_unit(value: float | None, unit: str) -> str:
    return NONE if value is None else f"{number(value)} {unit}"


def size(n: int | None) -> str:
    """Bytes as GB, MB or, below 10,000, as they are: "2.30 MB"."""
    if n is None:
        return NONE
    if abs(n) < 10_000:
        return exact_bytes(n)
    # The unit is chosen after rounding: 999,999,999 bytes are 1.00 GB, not 1,000 MB.
    return _with_unit(n / 1e9, "GB") if abs(_round(n / 1e6)) >= 1_000 else _with_unit(n / 1e6, "MB")


def exact_bytes(n: int | None) -> str:
    """Every byte: "2,300,416 bytes"."""
    return NONE if n is None else counted(n, "byte")


def counted(count: int, one: str, many: str = "") -> str:
    """So many of what is called `one`: "1 cell", "2,000 cells"; `many` where that is more than an s behind it."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def seconds(value: float | None) -> str:
    """Seconds from one second up, else milliseconds: "12.3 ms", "1.23 s"."""
    if value is None:
        return NONE
    return _with_unit(value * 1e3, "ms") if abs(_round(value * 1e3)) < 1_000 else _with_unit(value, "s")


def exact_seconds(value: float | None) -> str:
    """All digits a clock gives: "12.345678 ms"."""
    return NONE if value is None else f"{value * 1e3:,.6f} ms"


def rate(tokens_per_s: float | None) -> str:
    """Tokens per second: "210 tok/s"."""
    return _with_unit(tokens_per_s, "tok/s")


def percent(share: float | None) -> str:
    """A share of one as percent: 0.973 is "97.3 %". What only rounds to the whole is not called the whole."""
    if share is None:
        return NONE
    if share < 1 and _round(share) >= 1:
        return "> 99.9 %"
    return _with_unit(share * 100, "%")


def ratio(value: float | None) -> str:
    """How many times: "1.23 x"."""
    return _with_unit(value, "x")


def nats(value: float | None) -> str:
    """A divergence: "0.0123 nats"."""
    return _with_unit(value, "nats")


def bits(value: float | None) -> str:
    """Bits for one weight: "4.50 bits"."""
    return _with_unit(value, "bits")

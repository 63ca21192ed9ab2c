import math
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.records import units
from quantlab.reporting.text import escaped, shortened, visible

FLOATS = (
    (units.seconds, r"(ms|s)"),
    (units.exact_seconds, "ms"),
    (units.rate, "tok/s"),
    (units.percent, "%"),
    (units.ratio, "x"),
    (units.nats, "nats"),
    (units.bits, "bits"),
)
NUMBER = r"(> )?-?(∞|NaN|inf|nan|[\d,]+(\.\d+)?(e[+-]\d+)?)"


@pytest.mark.parametrize(("format_", "unit"), FLOATS, ids=lambda it: getattr(it, "__name__", ""))
@given(value=st.one_of(st.none(), st.floats(), st.integers(-(2**64), 2**64)))
def test_formatting_never_raises_and_keeps_the_unit(format_, unit: str, value: float | None):
    text = format_(value)
    assert text == units.NONE if value is None else re.fullmatch(f"{NUMBER} {unit}", text)


@given(st.one_of(st.none(), st.integers(-(2**80), 2**80)))
def test_bytes_keep_their_unit(n: int | None):
    assert units.size(n) == units.NONE if n is None else re.fullmatch(f"{NUMBER} (bytes?|MB|GB)", units.size(n))
    assert units.exact_bytes(n) == units.NONE if n is None else re.fullmatch(r"-?[\d,]+ bytes?", units.exact_bytes(n))


@given(st.floats(1e-300, 1e300))
def test_three_significant_digits_are_right(value: float):
    assert float(units.number(value).replace(",", "")) == pytest.approx(value, rel=0.00501)


@given(st.integers(10_000, 10**13))
def test_bytes_read_back(n: int):
    figure, unit = units.size(n).split()
    assert float(figure.replace(",", "")) * {"MB": 10**6, "GB": 10**9}[unit] == pytest.approx(n, rel=0.00501)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (units.size(0), "0 bytes"),
        (units.size(1), "1 byte"),
        (units.size(9_999), "9,999 bytes"),
        (units.size(10_000), "0.0100 MB"),
        (units.size(2_300_416), "2.30 MB"),
        (units.size(999_999_999), "1.00 GB"),
        (units.size(140_000_000_000), "140 GB"),
        (units.exact_bytes(2_300_416), "2,300,416 bytes"),
        (units.seconds(0.0123456), "12.3 ms"),
        (units.seconds(0.9999), "1.00 s"),
        (units.seconds(75.25), "75.2 s"),
        (units.exact_seconds(0.012345678), "12.345678 ms"),
        (units.rate(9.996), "10.0 tok/s"),
        (units.rate(12_345), "12,300 tok/s"),
        (units.percent(1), "100 %"),
        (units.percent(0.99999), "> 99.9 %"),
        (units.percent(0.973), "97.3 %"),
        (units.ratio(1.234), "1.23 x"),
        (units.nats(0.0), "0 nats"),
        (units.nats(1.2e-9), "1.20e-09 nats"),
        (units.nats(math.inf), "∞ nats"),
        (units.nats(math.nan), "NaN nats"),
        (units.bits(4.125), "4.12 bits"),
    ],
)
def test_examples(text: str, wanted: str):
    assert text == wanted


@given(st.text())
def test_every_token_can_be_seen_and_none_is_markup(token: str):
    shown = visible(token)
    assert shown.isprintable() and shown.strip() == shown != ""
    assert not set("<>$") & set(escaped(token))


@pytest.mark.parametrize(
    ("count", "names", "told"),
    [(0, ("cell",), "0 cells"), (1, ("cell",), "1 cell"), (2_000, ("cell",), "2,000 cells"),
     (1, ("entry", "entries"), "1 entry"), (3, ("entry", "entries"), "3 entries")],
)  # fmt: skip
def test_one_is_told_as_one(count, names, told):
    assert units.counted(count, *names) == told


def test_tokens():
    assert (visible(" the"), visible("\n"), visible("\x00"), visible("")) == ("␣the", "↵", "\\u0000", "(empty)")
    assert escaped("<b>&lt;$x$") == "&lt;b&gt;&amp;lt;&#36;x&#36;"
    assert (shortened("abcdef", 4), shortened("abcd", 4), shortened("abcdef", 5)) == ("a…ef", "abcd", "ab…ef")


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_numbers_that_are_shown_beside_each_other_add_up(first: float, second: float):
    shown = [units.number(it) for it in (first, second)]
    if any("e" in it for it in shown):
        return
    one, other = (Decimal(it.replace(",", "")) for it in shown)
    off = Decimal(units.apart(first, second).replace(",", ""))
    step = Decimal(1).scaleb(off.as_tuple().exponent)
    assert abs(abs(one - other) - off) <= step / 2 and (off == 0) == (one == other)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("-0.4251 / 0.06 = -7.00", "−0.4251 / 0.06 = −7.00"),
        ("-7 to 7, (-1)", "−7 to 7, (−1)"),
        ("1.2e-07", "1.2e−07"),
        ("rtn-4-g64, 2026-11-29, 4-bit, --n -", "rtn-4-g64, 2026-11-29, 4-bit, --n -"),
        ("-∞", "−∞"),
    ],
)
def test_the_sign_of_negative_numbers_is_the_one_of_charts(text: str, shown: str):
    assert units.minus(text) == shown

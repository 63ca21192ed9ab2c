"""A prediction as it is typed, and how it compares with what is true, in plain words."""

import math
import re
from typing import Any

from quantlab.errors import BadInput, unknown
from quantlab.records import units
from quantlab.records.lessons import Outcome, Question, Truth, Verdict

#: Longer than any number somebody would guess.
_LONGEST = 40


def read(question: Question, value: Any) -> float | str:
    """The prediction that was typed or chosen. Raises BadInput for nothing, for what is no number or out of range, and
    for a choice that is not offered."""
    if question.kind == "choice":
        return _choice(question, value)
    text = "" if value is None else str(value).strip()
    if not text:
        raise BadInput("There is no prediction yet.", f"Type a number from {range_of(question)}. A guess is enough.")
    found = _number(question, text)
    if not question.low <= found <= question.high:
        raise BadInput(f"{text} is out of range.", f"Type a number from {range_of(question)}.")
    if question.whole and found != int(found):
        raise BadInput(f"{text} is no whole number.", f"Type a whole number from {range_of(question)}.")
    return found


def _choice(question: Question, value: Any) -> str:
    if value is None or value == "":
        raise BadInput("There is no prediction yet.", "Choose one of the answers. A guess is enough.")
    if value not in question.choices:
        raise unknown("answer", str(value)[:_LONGEST], question.choices)
    return str(value)


def _number(question: Question, text: str) -> float:
    """A decimal comma and the question's own unit are understood."""
    plain = text.replace("−", "-")
    if question.unit and plain.casefold().endswith(question.unit.casefold()):
        plain = plain[: -len(question.unit)].rstrip()
    if len(plain) <= _LONGEST and re.fullmatch(r"[+-]?\d*,\d+", plain):
        plain = plain.replace(",", ".")
    try:
        found = float(plain) if len(plain) <= _LONGEST else math.nan
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise BadInput(
            f"{text[:_LONGEST]!r} is no number.", f"Type one from {range_of(question)}, such as {_such(question)}."
        )
    return found


def range_of(question: Question) -> str:
    """From where to where a prediction may lie."""
    unit = f" {question.unit}" if question.unit else ""
    return units.minus(f"{question.low:g} to {question.high:g}{unit}")


def _such(question: Question) -> str:
    middle = (question.low + question.high) / 2
    return f"{int(middle)}" if question.whole or middle >= 10 else f"{middle:.1f}"


def judged(question: Question, prediction: float | str, truth: Truth) -> Verdict:
    """How far the prediction was from the truth. Pure: another figure gives another verdict."""
    if isinstance(prediction, str) or isinstance(truth.value, str):
        return _chosen(str(prediction), truth)
    return _guessed(question, prediction, truth, truth.value)


def _chosen(prediction: str, truth: Truth) -> Verdict:
    value = str(truth.value)
    if truth.doubt:
        return Verdict("open", prediction, value, None, f"You chose: {prediction}. {truth.doubt}")
    if prediction == value:
        tied = f" {_listed(truth.ties)} cannot be told from it here." if truth.ties else ""
        return Verdict("right", prediction, value, None, f"You chose: {prediction}. That is what was found.{tied}")
    if prediction in truth.ties:
        words = f"You chose: {prediction}. {value} stands first, but the two cannot be told apart here."
        return Verdict("close", prediction, value, None, words)
    return Verdict("off", prediction, value, None, f"You chose: {prediction}. What was found is: {value}.")


def _guessed(question: Question, prediction: float, truth: Truth, value: float) -> Verdict:
    said = f"You said {shown(question, prediction)}. It is {shown(question, value)}"
    spread = ""
    if truth.low is not None and truth.high is not None and truth.low < truth.high:
        spread = f" (from {shown(question, truth.low)} to {shown(question, truth.high)})"
    off = prediction - value
    if truth.doubt:
        measured = f"You said {shown(question, prediction)}. {shown(question, value)} was measured{spread}."
        return Verdict("open", prediction, value, None, f"{measured} {truth.doubt}")
    low = min(value * (1 - question.exact), value * (1 + question.exact), *_known(truth.low))
    high = max(value * (1 - question.exact), value * (1 + question.exact), *_known(truth.high))
    exactly = shown(question, prediction) == shown(question, value)
    if exactly or low <= prediction <= high:
        ending = "exactly right" if exactly else "as near as can be told"
        return Verdict("right", prediction, value, off, f"{said}{spread}: {ending}.")
    way = "too high" if off > 0 else "too low"
    share = f" ({units.percent(abs(off / value))} of it)" if value and not question.whole else ""
    outcome: Outcome = "close" if abs(off) <= abs(value) * question.close else "off"
    near = "close, " if outcome == "close" else ""
    by = apart(question, prediction, value)
    return Verdict(outcome, prediction, value, off, f"{said}{spread}: {near}{by}{share} {way}.")


def _known(value: float | None) -> tuple[float, ...]:
    return () if value is None else (value,)


def shown(question: Question, value: float | str) -> str:
    """A figure with the question's unit."""
    if isinstance(value, str):
        return value
    text = f"{value:.0f}" if question.whole else units.number(value)
    return f"{units.minus(text)} {question.unit}".rstrip()


def apart(question: Question, prediction: float, value: float) -> str:
    """By how much two figures differ, in digits that agree with both as they are shown."""
    off = f"{abs(prediction - value):.0f}" if question.whole else units.apart(prediction, value)
    return f"{off} {question.unit}".rstrip()


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(names)

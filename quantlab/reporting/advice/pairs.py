"""Whether this text tells two precisions apart, and how much more of it would."""

import math
from dataclasses import dataclass

from quantlab.fidelity.summary import Compared, with_error
from quantlab.measure import paired
from quantlab.records import Quality, units
from quantlab.reporting.advice import words
from quantlab.reporting.advice.cautions import FEW_WINDOWS

# More than this many times the text is no advice.
_TOO_MUCH = 1_000


@dataclass(frozen=True)
class Pair:
    """Neighbours in the ranking by mean KLD, `closer` before `farther`, and whether this text tells them apart.

    `apart` is None where it cannot be tested. `tokens` is the text, in tokens, that would tell them apart if their
    difference stays as it is; None where they are apart, where no length would, and where it is not known.
    """

    closer: str
    farther: str
    apart: bool | None
    tokens: int | None
    sentence: str


def pair(quality: Quality, closer: Compared, farther: Compared) -> Pair:
    """Two neighbours by a paired t test over the windows that both have."""
    names = (closer.precision, farther.precision)
    both = f"{names[0]} and {names[1]}"
    if words.in_noise(quality, closer.fidelity) and words.in_noise(quality, farther.fidelity):
        return Pair(*names, False, None, f"{both} both lie within the noise floor: no text tells them apart.")
    if closer.fidelity.window_kld and closer.fidelity.window_kld == farther.fidelity.window_kld:
        return Pair(
            *names, False, None, f"{both} have the same divergence in every window: they differ in nothing here."
        )
    found = paired.difference(farther.fidelity.window_kld, closer.fidelity.window_kld)
    if found is None:
        why = "fewer than two windows of the text can be set beside each other"
        return Pair(*names, None, None, f"Whether {both} differ cannot be tested: {why}.")
    figures = f"{with_error(found.mean, found.se, 'nats')} over {units.counted(found.n, 'window')}"
    if found.apart and found.mean > 0:
        return Pair(*names, True, None, f"{names[0]} is closer to the reference than {names[1]}, by {figures}.")
    cannot = f"{both} cannot be told apart with this much text: they differ by {figures}{_few(found)}."
    # Where windows were lost, the means of those that pair may even lie the other way round.
    if found.needed is None or found.mean < 0 or found.needed > _TOO_MUCH * found.n:
        return Pair(*names, False, None, f"{cannot} No text of a sensible length would do.")
    tokens = words.round_up(found.needed * quality.text.window_tokens)
    return Pair(*names, False, tokens, f"{cannot} {_more(quality, found.n, tokens)}")


def _few(found: paired.Estimate) -> str:
    """Why a difference of several errors is none yet, where it looks like one."""
    if abs(found.mean) <= 2 * found.se:
        return ""
    return f", and of so few only a difference above {found.critical:.1f} times its error counts"


def _more(quality: Quality, windows: int, tokens: int) -> str:
    text = quality.text
    read = windows * text.window_tokens
    said = f"About {tokens:,} tokens would do if that difference stays; {read:,} were read."
    if tokens <= text.tokens:
        enough = max(math.ceil(tokens / text.window_tokens), FEW_WINDOWS)
        return f"{said} This text has {text.tokens:,}: raise the number of windows to {enough:,}."
    return f"{said} This text has only {text.tokens:,}: give a longer one."

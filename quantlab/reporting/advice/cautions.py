"""What limits the figures: the rounding noise, too little text, what failed or was left out."""

from collections.abc import Sequence

from quantlab.fidelity.summary import Compared, compared, is_floor, reference_run
from quantlab.measure import paired, trust
from quantlab.records import Perplexity, Quality, TextFacts, units
from quantlab.reporting.advice import words

#: Below this many windows the scatter itself is poorly known: Student's critical value is above 2.36 instead of 1.96.
FEW_WINDOWS = 8
#: A reference with a larger perplexity guesses: models reach 5 to 50 on prose of a kind that they were trained on.
UNKNOWN_TEXT = 1_000


def of_noise(quality: Quality, ranked: Sequence[Compared], bound: float) -> list[str]:
    """How the distances lie to the noise floor."""
    floor = quality.noise_floor
    if floor is None:
        return [f"Noise floor: {quality.floor or 'not measured'}. So no difference can be called mere rounding noise."]
    own = [run.precision for run in ranked if is_floor(quality, run.run)]
    inside = [run.precision for run in ranked if words.in_noise(quality, run.fidelity) and run.precision not in own]
    said = [
        f"{name} is the noise floor itself: {quality.reference}'s weights, which differs only by rounding."
        for name in own
    ]
    if inside:
        said.append(
            f"{words.listed(inside)} cannot be told from {quality.reference}: the mean KLD is no larger than the noise "
            f"floor of {units.nats(floor.kld.mean)}, which is no difference."
        )
    elif len(ranked) > len(own):
        said.append(
            f"Every {'other ' * bool(own)}precision lies above the noise floor of {units.nats(floor.kld.mean)}."
        )
    for run in ranked if quality.text.windows >= FEW_WINDOWS else ():  # fewer are cautioned of, and tell nothing apart
        against = paired.difference(run.fidelity.window_kld, floor.window_kld)
        if run.precision not in (*inside, *own) and against and not against.apart:
            said.append(f"{run.precision} lies above the noise floor, but this text cannot tell it from the floor.")
    if floor.kld.mean >= bound:
        said.append("The bound lies below the noise floor: so small a divergence says nothing. Choose a larger bound.")
    return said


def others(quality: Quality, ranked: Sequence[Compared]) -> list[str]:
    """What keeps the figures from being taken as they stand."""
    said = []
    windows = quality.text.windows
    if windows < FEW_WINDOWS and ranked:
        said.append(
            f"The text gave only {windows} window{'' if windows == 1 else 's'} of {quality.text.window_tokens} tokens: "
            f"its errors are themselves uncertain. {_enough(quality.text)}"
        )
    said += _disturbed(quality)
    own = next((run for run in quality.runs if run.precision == quality.reference), None)
    unusable = own if own is not None and own.nonfinite > 0 and own.fidelity is None else None
    if unusable is not None:
        said.append(
            f"Nothing can be compared with {unusable.precision}, the reference: its logits are infinite or not a "
            f"number. {unusable.advice} Or choose another reference."
        )
    failed = [run.precision for run in quality.runs if run.error is not None]
    if failed:
        said.append(f"{words.listed(failed)} failed and {words.is_(failed)} not considered; the table says why.")
    scarce = [run for run in compared(quality) if words.few(run.fidelity)]
    for positions in dict.fromkeys(run.fidelity.tokens for run in scarce):
        names = [run.precision for run in scarce if run.fidelity.tokens == positions]
        said.append(f"The distance of {words.listed(names)} is {trust.few(positions)}. It decides nothing here.")
    known = {*failed, quality.reference, *(run.precision for run in (*ranked, *scarce))}
    missing = [run.precision for run in quality.runs if run.precision not in known]
    if missing and unusable is None:
        said.append(
            f"{words.listed(missing)} {words.is_(missing)} not considered: not compared with {quality.reference} yet."
        )
    unknown = [run.precision for run in ranked if run.fidelity.kld.se is None]
    if unknown:
        said.append(
            f"How exact the figures of {words.listed(unknown)} are is not known: what is left of the text is one "
            "window alone."
        )
    left_out = [run.precision for run in ranked if run.fidelity.excluded]
    if left_out:
        said.append(f"Positions with logits that are no numbers are left out of the means of {words.listed(left_out)}.")
    below = [run for run in ranked if run.fidelity.ppl.ratio < 1]
    noise = [run.precision for run in below if _is_noise(run.fidelity.ppl)]
    if noise:
        said.append(f"A perplexity below the reference's, as with {words.listed(noise)}, is noise and not a gain.")
    if other := [run.precision for run in below if run.precision not in noise]:
        said.append(
            f"The perplexity of {words.listed(other)} is below the reference's by more than its error. That is no gain "
            "either: it guesses this text's words by moving away from the reference, which knows the text badly."
        )
    reference = reference_run(quality)
    if reference is not None and reference.fidelity is not None and reference.fidelity.ppl.value > UNKNOWN_TEXT:
        said.append(
            f"{quality.reference} itself has a perplexity of {units.number(reference.fidelity.ppl.value)} here: it "
            "does not know such texts, so distances on this one say little about those that it knows."
        )
    return said


def _is_noise(ppl: Perplexity) -> bool:
    """Whether a ratio below 1 may be 1; so may one whose error is not known."""
    return ppl.ratio_se is None or ppl.ratio > 1 - 2 * ppl.ratio_se


def _disturbed(quality: Quality) -> list[str]:
    """A speed that something else on the machine spoilt. Of several it is said where the fastest would be named."""
    timed = [run for run in quality.runs if run.decode_tokens_per_s]
    if len(timed) != 1 or len(timed[0].decode_samples) < trust.ANSWERS or not (why := trust.doubt(timed[0])):
        return []
    return [f"The decode speed of {timed[0].precision} says little: {why}."]


def _enough(text: TextFacts) -> str:
    """How to come to enough windows: of this text, or of a longer one."""
    if text.tokens >= FEW_WINDOWS * text.window_tokens:
        return f"The text is longer: raise the number of windows to {FEW_WINDOWS} or more."
    return f"Give one that fills {FEW_WINDOWS} windows or more."

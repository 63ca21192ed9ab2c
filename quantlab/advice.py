"""A recommendation in words, with its reasons, from the figures of a `Quality`.

What it says of two precisions rests on a paired test: both read the same windows, so the differences of their windows'
mean KLD show less scatter than either alone. The windows are taken as independent samples, which 512 tokens apart and
each read from an empty cache they nearly are. Nothing is ever called better than the reference: a distance has no sign.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from quantlab.charts import units
from quantlab.charts.scored import compared, reference_run, with_error, within_floor
from quantlab.measure import paired
from quantlab.records import Load, Quality, QualityRun

#: Below this many windows the scatter itself is poorly known: Student's critical value is above 2.36 instead of 1.96.
FEW_WINDOWS = 8
#: Near enough for most, in nats: a perplexity some five percent higher on text of the reference's own, exp(0.05), as
#: the expected rise of the negative log-likelihood there is the KLD itself.
KLD_BOUND = 0.05
#: A reference with a larger perplexity guesses: models reach 5 to 50 on prose of a kind that they were trained on.
UNKNOWN_TEXT = 1_000
# More than this many times the text is no advice.
_TOO_MUCH = 1_000
# Decode speeds nearer to each other than this may change places when measured again.
_SPEED_NOISE = 0.05


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


@dataclass(frozen=True)
class Advice:
    """Names of the recommended precisions, None where there is none, and the sentences that say it and why.

    `ranking` goes from the closest to the reference to the farthest; `within_floor` are those whose divergence is no
    larger than the noise floor.
    """

    smallest: str | None
    fastest: str | None
    ranking: tuple[str, ...]
    within_floor: tuple[str, ...]
    recommendations: tuple[str, ...]
    noise: tuple[str, ...]
    pairs: tuple[Pair, ...]
    cautions: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """Everything, in the order to read it."""
        return (*self.recommendations, *self.noise, *(pair.sentence for pair in self.pairs), *self.cautions)


def advise(quality: Quality, kld_bound: float, memory_bytes: int | None = None) -> Advice:
    """What to take: the smallest precision whose mean KLD stays under `kld_bound` (nats), the fastest that fits.

    A mean stays under the bound when its 95 % confidence interval does. `memory_bytes` None is no limit. Raises
    ValueError for a bound or a memory that is not positive.
    """
    if not kld_bound > 0 or (memory_bytes is not None and memory_bytes <= 0):
        raise ValueError("the bound and the memory must be larger than zero")
    ranked = sorted(compared(quality), key=lambda run: run.fidelity.kld.mean)
    smallest, smallest_said = _smallest(quality, ranked, kld_bound)
    fastest, fastest_said = _fastest(quality, ranked, kld_bound, memory_bytes)
    return Advice(
        smallest=smallest,
        fastest=fastest,
        ranking=tuple(run.precision for run in ranked),
        within_floor=tuple(run.precision for run in ranked if _in_noise(quality, run)),
        recommendations=(*smallest_said, *fastest_said),
        noise=tuple(_noise(quality, ranked, kld_bound)),
        pairs=tuple(_pair(quality, one, other) for one, other in itertools.pairwise(ranked)),
        cautions=tuple(_cautions(quality, ranked)),
    )


def upper(run: QualityRun) -> float:
    """The upper end of the 95 % confidence interval of a run's mean KLD, in nats.

    From the scatter of the windows' means, which tokens that hang together do not make look small; where there is one
    window alone, from the tokens' own standard error, as if they were independent.
    """
    found = paired.estimate(run.fidelity.window_kld)
    return run.fidelity.kld.mean + (found.margin if found else 1.96 * run.fidelity.kld.se)


def _in_noise(quality: Quality, run: QualityRun) -> bool:
    return within_floor(quality, run.fidelity.kld.mean)


def _bytes(load: Load) -> int:
    """What the weights take at most: kernels may repack them while they run."""
    return max(load.stored_bytes, load.running_bytes)


def _kld(run: QualityRun) -> str:
    return with_error(run.fidelity.kld.mean, run.fidelity.kld.se, "nats")


def _smallest(quality: Quality, ranked: Sequence[QualityRun], bound: float) -> tuple[str | None, list[str]]:
    sized = sorted((run for run in ranked if run.load), key=lambda run: run.load.stored_bytes)
    under = [run for run in sized if upper(run) <= bound]
    if not under:
        return None, [_none_under(quality, ranked, bound), *_unsure(sized, bound)]
    best = under[0]
    said = [
        f"Smallest under {units.nats(bound)}: {best.precision}, {units.size(best.load.stored_bytes)}, with a mean KLD "
        f"of {_kld(best)}. Its 95 % confidence interval ends at {units.nats(upper(best))}.",
        *_unsure(sized[: sized.index(best)], bound),
    ]
    for task, score in best.tasks.items():
        if score.flips_lost == score.flips_won == 0:
            said.append(f"At {task}, {best.precision} changes none of the {score.items:,} answers from right to wrong.")
        elif score.flips_lost is not None and score.mcnemar_p is not None:
            told = "more than chance would make" if score.mcnemar_p < 1 - paired.CONFIDENCE else "which may be chance"
            said.append(
                f"At {task}, {best.precision} loses {units.percent(score.flips_lost)} of the items and wins "
                f"{units.percent(score.flips_won)}, {told} (McNemar's p is {units.number(score.mcnemar_p, 2)})."
            )
    return best.precision, said


def _none_under(quality: Quality, ranked: Sequence[QualityRun], bound: float) -> str:
    if not ranked:
        return f"No precision was compared with {quality.reference}, so there is none to recommend."
    nearest = ranked[0]
    return (
        f"No precision surely stays under {units.nats(bound)}. The closest is {nearest.precision} with "
        f"{_kld(nearest)}; keep {quality.reference}, or allow more."
    )


def _unsure(runs: Sequence[QualityRun], bound: float) -> list[str]:
    """Those whose mean lies under the bound while its error reaches past it."""
    return [
        f"{run.precision} may do: its mean KLD of {_kld(run)} lies under the bound, but its confidence interval ends "
        f"at {units.nats(upper(run))}. More text would tell."
        for run in runs if run.fidelity.kld.mean <= bound < upper(run)
    ]  # fmt: skip


def _fastest(
    quality: Quality, ranked: Sequence[QualityRun], bound: float, memory: int | None
) -> tuple[str | None, list[str]]:
    """Of all that ran, the reference among them."""
    reference = [r for r in quality.runs if r.precision == quality.reference and r.error is None]
    timed = [run for run in (*ranked, *reference) if run.load and run.decode_tokens_per_s]
    if not timed:
        return None, ["No decode speed was measured, so none can be called the fastest."]
    fits = [run for run in timed if memory is None or _bytes(run.load) <= memory]
    if not fits:
        least = min(timed, key=lambda run: _bytes(run.load))
        return None, [
            f"None fits into {units.size(memory)}: the smallest, {least.precision}, takes "
            f"{units.size(_bytes(least.load))} for its weights."
        ]
    by_speed = sorted(fits, key=lambda run: -run.decode_tokens_per_s)
    best = by_speed[0]
    within = f"that fits into {units.size(memory)}" if memory is not None else "of all"
    said = [
        f"Fastest {within}: {best.precision}, {units.rate(best.decode_tokens_per_s)}, with weights of "
        f"{units.size(_bytes(best.load))}; the KV cache and the activations come on top."
    ]
    near = [r.precision for r in by_speed[1:] if r.decode_tokens_per_s > (1 - _SPEED_NOISE) * best.decode_tokens_per_s]
    if near:
        said.append(f"{_listed(near)} {_is(near)} within 5 % of its speed, which a second measurement may turn round.")
    if best.precision != quality.reference and upper(best) > bound:
        over = "lies above" if best.fidelity.kld.mean > bound else "is not surely under"
        said.append(f"The mean KLD of {best.precision}, {_kld(best)}, {over} the bound of {units.nats(bound)}.")
    return best.precision, said


def _noise(quality: Quality, ranked: Sequence[QualityRun], bound: float) -> list[str]:
    floor = quality.noise_floor
    if floor is None:
        return [f"Noise floor: {quality.floor or 'not measured'}. So no difference can be called mere rounding noise."]
    inside = [run.precision for run in ranked if _in_noise(quality, run)]
    said = []
    if inside:
        said.append(
            f"{_listed(inside)} cannot be told from {quality.reference}: the mean KLD is no larger than the noise "
            f"floor of {units.nats(floor.kld.mean)}, which is no difference."
        )
    elif ranked:
        said.append(f"Every precision lies above the noise floor of {units.nats(floor.kld.mean)}.")
    for run in ranked:
        against = paired.difference(run.fidelity.window_kld, floor.window_kld)
        if run.precision not in inside and against and not against.apart:
            said.append(f"{run.precision} lies above the noise floor, but this text cannot tell it from the floor.")
    if floor.kld.mean >= bound:
        said.append("The bound lies below the noise floor: so small a divergence says nothing. Choose a larger bound.")
    return said


def _pair(quality: Quality, closer: QualityRun, farther: QualityRun) -> Pair:
    names = (closer.precision, farther.precision)
    both = f"{names[0]} and {names[1]}"
    if _in_noise(quality, closer) and _in_noise(quality, farther):
        return Pair(*names, False, None, f"{both} both lie within the noise floor: no text tells them apart.")
    if closer.fidelity.window_kld and closer.fidelity.window_kld == farther.fidelity.window_kld:
        return Pair(
            *names, False, None, f"{both} have the same divergence in every window: they differ in nothing here."
        )
    found = paired.difference(farther.fidelity.window_kld, closer.fidelity.window_kld)
    if found is None:
        why = "fewer than two windows of the text can be set beside each other"
        return Pair(*names, None, None, f"Whether {both} differ cannot be tested: {why}.")
    figures = f"{with_error(found.mean, found.se, 'nats')} over {found.n:,} windows"
    if found.apart and found.mean > 0:
        return Pair(*names, True, None, f"{names[0]} is closer to the reference than {names[1]}, by {figures}.")
    cannot = f"{both} cannot be told apart with this much text: they differ by {figures}."
    # Where windows were lost, the means of those that pair may even lie the other way round.
    if found.needed is None or found.mean < 0 or found.needed > _TOO_MUCH * found.n:
        return Pair(*names, False, None, f"{cannot} No text of a sensible length would do.")
    tokens = round_up(found.needed * quality.text.window_tokens)
    return Pair(*names, False, tokens, f"{cannot} {_more(quality, found.n, tokens)}")


def _more(quality: Quality, windows: int, tokens: int) -> str:
    text = quality.text
    read = windows * text.window_tokens
    said = f"About {tokens:,} tokens would do if that difference stays; {read:,} were read."
    if tokens <= text.tokens:
        return f"{said} This text has {text.tokens:,}: read more of its windows."
    return f"{said} Give a text that is about {units.number(tokens / text.tokens, 2)} times as long."


def round_up(n: int, digits: int = 2) -> int:
    """`n` rounded up to that many digits: an estimate is no more exact."""
    step = 10 ** max(0, len(str(n)) - digits)
    return math.ceil(n / step) * step


def _cautions(quality: Quality, ranked: Sequence[QualityRun]) -> list[str]:
    said = []
    windows = quality.text.windows
    if windows < FEW_WINDOWS and ranked:
        said.append(
            f"The text gave only {windows} window{'' if windows == 1 else 's'} of {quality.text.window_tokens} tokens: "
            f"its errors are themselves uncertain. Give {FEW_WINDOWS} windows or more."
        )
    failed = [run.precision for run in quality.runs if run.error is not None]
    if failed:
        said.append(f"{_listed(failed)} failed and {_is(failed)} not considered; the table says why.")
    known = {*failed, quality.reference, *(run.precision for run in ranked)}
    missing = [run.precision for run in quality.runs if run.precision not in known]
    if missing:
        said.append(f"{_listed(missing)} {_is(missing)} not considered: not compared with {quality.reference} yet.")
    left_out = [run.precision for run in ranked if run.fidelity.excluded]
    if left_out:
        said.append(f"Positions with logits that are no numbers are left out of the means of {_listed(left_out)}.")
    below = [run for run in ranked if run.fidelity.ppl.ratio < 1]
    noise = [run.precision for run in below if run.fidelity.ppl.ratio > 1 - 2 * run.fidelity.ppl.ratio_se]
    if noise:
        said.append(f"A perplexity below the reference's, as with {_listed(noise)}, is noise and not a gain.")
    if other := [run.precision for run in below if run.precision not in noise]:
        said.append(
            f"The perplexity of {_listed(other)} is below the reference's by more than its error. That is no gain "
            "either: it guesses this text's words by moving away from the reference, which knows the text badly."
        )
    reference = reference_run(quality)
    if reference is not None and reference.fidelity is not None and reference.fidelity.ppl.value > UNKNOWN_TEXT:
        said.append(
            f"{quality.reference} itself has a perplexity of {units.number(reference.fidelity.ppl.value)} here: it "
            "does not know such texts, so distances on this one say little about those that it knows."
        )
    if quality.model.meaningless:
        said.append("The weights are random, so these figures say nothing of a trained model.")
    return said


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"

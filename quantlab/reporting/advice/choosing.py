"""Which precision to take: the smallest that is close enough, the fastest that fits."""

import math
from collections.abc import Sequence

from quantlab.fidelity.summary import compared
from quantlab.measure import paired, trust
from quantlab.records import Quality, QualityRun, units
from quantlab.reporting.advice import words

_AGAIN = "Measure again when the machine is quiet."


def smallest(quality: Quality, ranked: Sequence[QualityRun], bound: float) -> tuple[str | None, list[str]]:
    """Its name, None where none surely stays under the bound, and the sentences that say so."""
    sized = sorted((run for run in ranked if run.load), key=lambda run: run.load.stored_bytes)
    under = [run for run in sized if words.upper(run) <= bound]
    if not under:
        return None, [_none_under(quality, ranked, bound), *_unsure(sized, bound)]
    best = under[0]
    said = [
        f"Smallest under {words.limit(bound)}: {best.precision}, {units.size(best.load.stored_bytes)}, with a mean KLD "
        f"of {words.kld(best)}. With 95 % confidence it is below "
        f"{units.nats(words.upper(best))}.",
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
    if not ranked and compared(quality):
        return "Nothing is recommended: the text gave too few positions. Give a longer one."
    if not ranked:
        return f"No precision was compared with {quality.reference}, so there is none to recommend."
    nearest = ranked[0]
    return (
        f"No precision surely stays under {words.limit(bound)}. The closest is {nearest.precision} with "
        f"{words.kld(nearest)}; keep {quality.reference}, or allow more."
    )


def _unsure(runs: Sequence[QualityRun], bound: float) -> list[str]:
    """Those whose mean lies under the bound while its error reaches past it."""
    return [
        f"{run.precision} may do: its mean KLD of {words.kld(run)} lies under the bound, but {_end(run)}. "
        "More of the text, or a longer one, would tell."
        for run in runs if run.fidelity.kld.mean <= bound < words.upper(run)
    ]  # fmt: skip


def _end(run: QualityRun) -> str:
    upper = words.upper(run)
    return "its error is not known" if upper == math.inf else f"its confidence interval ends at {units.nats(upper)}"


def fastest(quality: Quality, bound: float, memory: int | None) -> tuple[str | None, list[str]]:
    """Its name, of all that ran, the reference among them; and the sentences that say so."""
    reference = [r for r in quality.runs if r.precision == quality.reference and r.error is None]
    timed = [run for run in (*compared(quality), *reference) if run.load and run.decode_tokens_per_s]
    if not timed:
        return None, ["No decode speed was measured, so none can be called the fastest."]
    fits = [run for run in timed if memory is None or words.weight_bytes(run.load) <= memory]
    if not fits:
        least = min(timed, key=lambda run: words.weight_bytes(run.load))
        return None, [
            f"None fits into {units.size(memory)}: the smallest, {least.precision}, takes "
            f"{units.size(words.weight_bytes(least.load))} for its weights."
        ]
    if len(timed) == 1:
        return timed[0].precision, []
    within = f"that fits into {units.size(memory)}" if memory is not None else "of all"
    if len(fits) == 1:
        only = fits[0]
        return only.precision, [f"Only {only.precision} fits into {units.size(memory)}.", *_far(quality, only, bound)]
    found = trust.verdict(fits)
    if found.doubts:
        return None, [f"Which is the fastest {within} is not said. {found.why_not} {_AGAIN}"]
    if found.near:
        return None, [f"{trust.too_near([quality.run(name) for name in found.near])}."]
    best = quality.run(found.fastest)
    said = (
        f"Fastest {within}: {best.precision}, {trust.speed(best)} in {len(best.decode_samples)} answers, with weights "
        f"of {units.size(words.weight_bytes(best.load))}; the KV cache and the activations come on top."
    )
    return best.precision, [said, *_far(quality, best, bound)]


def _far(quality: Quality, run: QualityRun, bound: float) -> list[str]:
    """That the one to take for its speed lies too far from the reference, where that is known."""
    if run.precision == quality.reference or words.few(run) or words.upper(run) <= bound:
        return []
    over = "lies above" if run.fidelity.kld.mean > bound else "is not surely under"
    return [f"The mean KLD of {run.precision}, {words.kld(run)}, {over} the bound of {words.limit(bound)}."]

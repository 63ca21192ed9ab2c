"""Which precision to take: the smallest that is close enough, the fastest that fits."""

import math
from collections.abc import Sequence

from quantlab.fidelity.summary import Compared, compared
from quantlab.measure import paired, trust
from quantlab.records import Fidelity, Quality, QualityRun, units
from quantlab.reporting.advice import words

_AGAIN = "Measure again when the machine is quiet."


def smallest(quality: Quality, ranked: Sequence[Compared], bound: float) -> tuple[str | None, list[str]]:
    """Its name, None where none surely stays under the bound, and the sentences that say so."""
    loaded = [(it, it.run.load.stored_bytes) for it in ranked if it.run.load]
    sized = sorted(loaded, key=lambda pair: pair[1])
    place = next((i for i, (it, _) in enumerate(sized) if words.upper(it.fidelity) <= bound), None)
    before = [it for it, _ in sized[:place]]
    if place is None:
        return None, [_none_under(quality, ranked, bound), *_unsure(before, bound)]
    best, stored = sized[place]
    said = [
        f"Smallest under {words.limit(bound)}: {best.precision}, {units.size(stored)}, with a mean KLD of "
        f"{words.kld(best.fidelity)}. With 95 % confidence it is below {units.nats(words.upper(best.fidelity))}.",
        *_unsure(before, bound),
    ]
    for task, score in best.run.tasks.items():
        if score.flips_lost == score.flips_won == 0:
            said.append(f"At {task}, {best.precision} changes none of the {score.items:,} answers from right to wrong.")
        elif score.flips_lost is not None and score.mcnemar_p is not None:
            told = "more than chance would make" if score.mcnemar_p < 1 - paired.CONFIDENCE else "which may be chance"
            said.append(
                f"At {task}, {best.precision} loses {units.percent(score.flips_lost)} of the items and wins "
                f"{units.percent(score.flips_won)}, {told} (McNemar's p is {units.number(score.mcnemar_p, 2)})."
            )
    return best.precision, said


def _none_under(quality: Quality, ranked: Sequence[Compared], bound: float) -> str:
    if not ranked and compared(quality):
        return "Nothing is recommended: the text gave too few positions. Give a longer one."
    if not ranked:
        return f"No precision was compared with {quality.reference}, so there is none to recommend."
    nearest = ranked[0]
    return (
        f"No precision surely stays under {words.limit(bound)}. The closest is {nearest.precision} with "
        f"{words.kld(nearest.fidelity)}; keep {quality.reference}, or allow more."
    )


def _unsure(runs: Sequence[Compared], bound: float) -> list[str]:
    """Those whose mean lies under the bound while its error reaches past it."""
    return [
        f"{run.precision} may do: its mean KLD of {words.kld(run.fidelity)} lies under the bound, but "
        f"{_end(run.fidelity)}. More of the text, or a longer one, would tell."
        for run in runs if run.fidelity.kld.mean <= bound < words.upper(run.fidelity)
    ]  # fmt: skip


def _end(found: Fidelity) -> str:
    upper = words.upper(found)
    return "its error is not known" if upper == math.inf else f"its confidence interval ends at {units.nats(upper)}"


def fastest(quality: Quality, bound: float, memory: int | None) -> tuple[str | None, list[str]]:
    """Its name, of all that ran, the reference among them; and the sentences that say so."""
    reference = [r for r in quality.runs if r.precision == quality.reference and r.error is None]
    others = [it.run for it in compared(quality)]
    timed = [
        (run, words.weight_bytes(run.load)) for run in (*others, *reference) if run.load and run.decode_tokens_per_s
    ]
    if not timed:
        return None, ["No decode speed was measured, so none can be called the fastest."]
    fits = {run.precision: (run, weights) for run, weights in timed if memory is None or weights <= memory}
    if not fits:
        least, weights = min(timed, key=lambda pair: pair[1])
        return None, [
            f"None fits into {units.size(memory)}: the smallest, {least.precision}, takes {units.size(weights)} for "
            "its weights."
        ]
    if len(timed) == 1:
        return timed[0][0].precision, []
    within = f"that fits into {units.size(memory)}" if memory is not None else "of all"
    if len(fits) == 1:
        ((only, _),) = fits.values()
        return only.precision, [f"Only {only.precision} fits into {units.size(memory)}.", *_far(quality, only, bound)]
    found = trust.verdict([run for run, _ in fits.values()])
    if found.doubts:
        return None, [f"Which is the fastest {within} is not said. {found.why_not} {_AGAIN}"]
    if found.fastest is None:
        return None, [f"{trust.too_near([quality.run(name) for name in found.near])}."]
    best, weights = fits[found.fastest]
    said = (
        f"Fastest {within}: {best.precision}, {trust.speed(best)} in "
        f"{units.counted(len(best.decode_samples), 'answer')}, with weights of "
        f"{units.size(weights)}; the KV cache and the activations come on top."
    )
    return best.precision, [said, *_far(quality, best, bound)]


def _far(quality: Quality, run: QualityRun, bound: float) -> list[str]:
    """That the one to take for its speed lies too far from the reference, where that is known."""
    found = run.fidelity
    if run.precision == quality.reference or found is None or words.few(found) or words.upper(found) <= bound:
        return []
    over = "lies above" if found.kld.mean > bound else "is not surely under"
    return [f"The mean KLD of {run.precision}, {words.kld(found)}, {over} the bound of {words.limit(bound)}."]

"""Claims about fine-tuning: what a 7B model takes is planned; the planner is held against a training that was run."""

from collections.abc import Callable

from quantlab.records import Finetuned, QualityRun, units
from quantlab.records.claims import Figure
from quantlab.teach.claims.evidence import SEVEN, Evidence, Merges, Training
from quantlab.teach.claims.judging import Bound, Judgement, decided, nbytes, untested

#: What training adds to the base, beside activations: counted tensor by tensor, so that a plan can be held against it.
ADDED = ("adapters", "gradients", "optimizer")
#: As far as a plan may be off from what was measured.
_OFF = 10.0
#: A merge "changes nothing" up to so many nats, and so many percent of the right answers lost: one of the 96 questions
#: is one percent, which may fall either way.
SAME_KLD, SAME_LOST = 1e-3, 2.0
#: An adapter that answers fewer of the questions that it was taught has learnt nothing that could be lost.
LEARNT = 0.5


def _ran(found: Evidence) -> tuple[str, tuple[Figure, ...]]:
    """What the training here took, in a sentence and as figures."""
    it = found.training
    if it is None:
        return f" No training was run here: {found.missing.get('training', 'it was not tried')}.".replace("..", "."), ()
    said = (
        f" A training of the {it.model} model here ({it.steps} steps) took {units.size(sum(it.memory.values()))}: "
        + ", ".join(f"{part} {units.size(value)}" for part, value in it.memory.items())
        + f". It trained {_share(it):.2f} % of the parameters."
    )
    parts = (nbytes(f"{it.model}, trained: {part}", value) for part, value in it.memory.items())
    return said, (*parts, Figure(f"{it.model}, trained: share of parameters", _share(it), "%"))


def _share(it: Training) -> float:
    return 100 * it.trainable / it.parameters


def _plan_is_off(found: Evidence) -> str:
    """Why the planner cannot be relied on: it is off by more than 10 % from the training here. Empty where it can."""
    it = found.training
    if it is None:
        return ""
    for part in ADDED:
        planned, measured = it.planned.parts[part], it.memory.get(part, 0)
        if abs(planned - measured) > _OFF / 100 * planned:
            return (
                f"The planner cannot be relied on: of the training here it says {units.size(planned)} of {part}, "
                f"and {units.size(measured)} were measured"
            )
    return ""


def _by_plan(found: Evidence, rule: Callable[[Finetuned, str, tuple[Figure, ...]], Judgement]) -> Judgement:
    """What a rule makes of the planned training of a 7B model, told what the training here took; nothing where there is
    no plan, or that training says that it cannot be relied on."""
    planned = found.plans[SEVEN].finetuned if SEVEN in found.plans else None
    if planned is None:
        return untested(found.missing.get("plans", "nothing was planned"))
    ran, figures = _ran(found)
    if why := _plan_is_off(found):
        return untested(why, *figures)
    return rule(planned, ran, figures)


def adapters(found: Evidence) -> Judgement:
    """Row 12: 0.2 %, to one digit, of the weights' memory at 4 bits, adapters in 32 bits as trained by peft."""

    def rule(trained: Finetuned, ran: str, figures: tuple[Figure, ...]) -> Judgement:
        base, added = trained.parts["weights"], trained.parts["adapters"]
        share = 100 * added / base
        of_weights = 100 * trained.trainable / (found.plans[SEVEN].weights or 1)
        return decided(
            True,
            f"Rank {trained.rank} on {' and '.join(trained.targets)} of a 7B model adds {units.size(added)} to "
            f"{units.size(base)} ({trained.base}): {share:.2f} % of the memory, {of_weights:.2f} % of the weights."
            f"{ran}",
            nbytes("adapters", added, False),
            nbytes("weights", base, False),
            Figure("share", share, "%", False),
            *figures,
            bounds=(
                Bound("the share is", share, "at least", 0.15, "%"),
                Bound("the share is", share, "less than", 0.25, "%"),
            ),
        )

    return _by_plan(found, rule)


def qlora(found: Evidence) -> Judgement:
    """Row 11: QLoRA of a 7B model in about 4 GB, which is read as at most 4.5."""

    def rule(trained: Finetuned, ran: str, figures: tuple[Figure, ...]) -> Judgement:
        total = trained.total_bytes
        return decided(
            True,
            f"Planned for {found.plans[SEVEN].context:,} tokens: {units.size(total)}, of which the weights alone are "
            f"{units.size(trained.parts['weights'])}.{ran} GPTQ's codes take adapters too, without quantizing again "
            "(quantlab finetune --precision gptq-4).",
            nbytes("QLoRA of a 7B model", total, False),
            *figures,
            bounds=(Bound("it takes", total, "at most", 4.5e9, "bytes"),),
        )

    return _by_plan(found, rule)


def merging(found: Evidence) -> Judgement:
    """Row 24: every way of merging lies within 0.001 nats of the adapter beside the weights that it was trained on, and
    loses at most 2 % of its right answers. No verdict where the adapter learnt too little to lose."""
    merges = found.merges
    if merges is None:
        return untested(found.missing.get("merges", "no adapter was trained"))
    ways = _ways(merges)
    for run in (merges.trained, *ways.values()):
        if run.error or run.stopped or merges.task not in run.tasks:
            return untested(f"{run.precision}: {run.error or 'its answers were not measured'}")
    right = merges.trained.tasks[merges.task].acc
    learnt = Figure("right answers, as trained", 100 * right, "%")
    if right < LEARNT:
        return untested(f"the adapter answers {100 * right:.1f} % of what it was taught: too little to lose", learnt)
    figures, bounds, said = [learnt], [], {}
    for way, run in ways.items():
        if run.fidelity is None:
            return untested(f"{way} was not compared with the adapter", *figures)
        kld, answers = run.fidelity.kld.mean, run.tasks[merges.task].acc
        figures += [Figure(f"{way}: mean KLD", kld, "nats"), Figure(f"{way}: right answers", 100 * answers, "%")]
        own = [
            Bound(f"{way} lies at", kld, "at most", SAME_KLD, "nats"),
            Bound(f"{way} loses", 100 * (1 - answers / right), "at most", SAME_LOST, "%"),
        ]
        bounds += own
        said[way] = (f"{way} ({units.nats(kld)}, {100 * answers:.1f} % right)", own)
    kept = [told for told, own in said.values() if all(it.kept for it in own)]
    moved = [told for told, (near, lost) in said.values() if lost.kept and not near.kept]
    lost = [told for told, (_, lost) in said.values() if not lost.kept]
    sentences = [
        f"Trained here was the {merges.model} model on {merges.base} ({merges.steps} steps, {100 * right:.1f} % right)",
        *(f"{what}: {'; '.join(ways)}" for what, ways in (
            ("It is kept by what is", kept), ("What was learnt stays, but other things change, where it is", moved),
            ("It loses what was learnt where it is", lost),
        ) if ways),
    ]  # fmt: skip
    return decided(True, f"{'. '.join(sentences)}.", *figures, bounds=bounds)


def _ways(merges: Merges) -> dict[str, QualityRun]:
    base = merges.base
    return {
        "merged into the original weights in bf16": merges.original,
        f"merged into the original weights and quantized to {base}": merges.original_again,
        f"merged into the dequantized {base} weights in bf16": merges.kept,
        f"merged into the dequantized {base} weights and quantized to {base} again": merges.kept_again,
    }

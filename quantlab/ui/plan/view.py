"""A plan as the page shows it; its markup is in fragments.html."""

from collections.abc import Sequence
from dataclasses import replace

from quantlab.records import Card, Fit, Plan, Suited, units
from quantlab.reporting.templates import Pieces
from quantlab.teach.plan import words

_HTML = Pieces("ui/plan/fragments.html")
_TRAINED = {
    "weights": "weights", "adapters": "adapters", "gradients": "gradients", "optimizer": "states of AdamW",
    "activations": "activations (estimate)",
}  # fmt: skip
_SIGNS = {"plan-fits": "✓", "plan-not": "✕", "plan-refused": "–"}


def against(plan: Plan, first: int, end: int | None = None) -> Plan:
    """The same plan held against some of its cards only."""
    made = tuple(replace(it, fits=it.fits[first:end]) for it in plan.precisions)
    trained = plan.finetuned and replace(plan.finetuned, fits=plan.finetuned.fits[first:end])
    return replace(plan, precisions=made, finetuned=trained)


def verdicts(plan: Plan) -> str:
    """One sentence a precision, for a plan that is held against one card."""
    weights = "" if plan.weights is None else f", {_millions(plan.weights)} weights"
    many = "sequence" if plan.batch == 1 else "sequences"
    head = f"{plan.model}{weights}, {plan.batch:,} {many} of {plan.context:,} tokens"
    lines = []
    for planned in plan.precisions:
        if planned.refused:
            lines.append(("plan-refused", _SIGNS["plan-refused"], f"{planned.precision}: it {planned.refused}."))
            continue
        fit = planned.fits[0]
        kind = "plan-fits" if fit.fits else "plan-not"
        lines.append((kind, _SIGNS[kind], words.verdict(planned, fit)))
    return _HTML.verdicts(head, lines, plan.notes, plan.compute_dtype)


def _millions(weights: int) -> str:
    return f"{weights / 1e9:.2f} billion" if weights >= 1e9 else f"{weights / 1e6:.1f} million"


def cards(plan: Plan) -> str:
    """The same plan held against every card: what fits, what lies outside, how many it takes."""
    there = [planned for planned in plan.precisions if not planned.refused]
    heads = [("word", "card"), ("num", "memory"), *(("num", planned.precision) for planned in there)]
    rows = []
    for place, card in enumerate(fit.card for fit in (there[0].fits if there else ())):
        fits = [planned.fits[place] for planned in there]
        cells = [("num", units.size(card.nbytes)), *(_cell(fit) for fit in fits)]
        rows.append((card.name, _source(card), cells))
    about = (
        "Where it fits: the longest context that does, and the largest batch, each with all else as asked. Where it "
        "does not: what would lie in main memory, and how many such cards hold it by bytes."
    )
    return _HTML.table("On every card", about, "Cards, and what each holds of this plan", heads, rows)


def _cell(fit: Fit) -> tuple[str, str]:
    if fit.fits:
        return "num", f"fits: {words.longest(fit)} tokens, batch {words.largest(fit)}"
    more = "" if fit.card.shared else f", {fit.cards} cards"
    return "num plan-not", f"{units.size(fit.outside)} outside{more}"


def _source(card: Card) -> str:
    if card.shared:
        return "Main memory, or Apple's unified memory: the system and other programs need a part of it"
    return f"{card.nbytes // 2**20:,} MiB as nvidia-smi reports it ({card.source})"


def inverse(found: Sequence[Suited], card: Card, context: int, batch: int) -> str:
    """What other models can be had at on the card."""
    heads = [("word", "model"), ("word", "precision"), ("num", "together"), ("num", "left"), ("num", "longest context")]
    rows = []
    for each in found:
        if each.planned is None:
            rows.append((each.model, "", [("word plan-not", words.suited(each)), *[("num", "")] * 3]))
            continue
        fit = each.planned.fits[0]
        figures = [units.size(fit.nbytes), units.size(fit.left), words.longest(fit)]
        rows.append((each.model, "", [("word", each.planned.precision), *(("num", text) for text in figures)]))
    about = (
        f"For each model the most bits that fit, no more than its files have, with {batch:,} x {context:,} tokens. "
        "More bits are not always better spent: a larger model with fewer bits may answer better."
    )
    return _HTML.table(f"What fits {card.name}", about, f"Models and what fits {card.name} of them", heads, rows)


def trained(plan: Plan) -> str:
    """Fine-tuning in one sentence, and its bytes."""
    found = plan.finetuned
    if found is None:
        return ""
    fit = found.fits[0]
    held = [(part, nbytes) for part, nbytes in found.parts.items() if nbytes]
    rows = [(_TRAINED[part], units.size(nbytes), units.exact_bytes(nbytes)) for part, nbytes in held]
    return _HTML.trained(words.trained(found, fit), fit.fits, rows)

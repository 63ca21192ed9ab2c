"""Claims about memory. What a plan says follows from a configuration; the tests hold it against measured bytes."""

from quantlab.records import units
from quantlab.records.claims import Figure
from quantlab.teach.claims.evidence import REFERENCE, SEVEN, SEVENTY, Evidence
from quantlab.teach.claims.judging import Bound, Judgement, decided, nbytes, off, stored, untested

#: What the claims say of 7 and of 70 billion weights, in GB.
SEVEN_GB = {"fp32": 28.0, "bf16": 14.0, "int8": 7.0, "nf4": 3.5}
SEVENTY_GB = {"bf16": 140.0, "nf4": 36.0}


def saving(found: Evidence) -> Judgement:
    """Row 1: 75 to 90 %, to whole percents, for 8 and for 4 bits."""
    names = ("int8", "nf4", "nf4-dq")
    if why := found.why_no_run(REFERENCE, *names):
        return untested(why)
    runs = {name: stored(run) for name in (REFERENCE, *names) if (run := found.run(name))}
    shares = {name: 1 - runs[name] / runs[REFERENCE] for name in names}
    said = ", ".join(f"{name} saves {100 * share:.0f} %" for name, share in shares.items())
    bounds = [
        Bound(f"{name} saves", 100 * share, *limit, "%")
        for name, share in shares.items()
        for limit in (("at least", 74.5), ("less than", 90.5))
    ]
    return decided(
        True,
        f"Of the whole model {said}: its embeddings and norms stay wide.",
        *(nbytes(f"{name} stored", value) for name, value in runs.items()),
        bounds=bounds,
    )


def _against(found: Evidence, model: str, claimed: dict[str, float]) -> tuple[list[Bound], str, tuple[Figure, ...]]:
    plan = found.plans[model]
    planned = {name: plan.precision(name).stored_bytes for name in claimed}
    bounds = [off(name, planned[name] / 1e9, gb) for name, gb in claimed.items()]
    said = ", ".join(f"{name} {planned[name] / 1e9:.1f} GB ({claimed[name]:g} claimed)" for name in claimed)
    return bounds, said, tuple(nbytes(f"{plan.model} {name}", value, False) for name, value in planned.items())


def seven(found: Evidence) -> Judgement:
    """Row 2: each within 10 % of the claim."""
    if SEVEN not in found.plans:
        return untested(found.missing.get("plans", "nothing was planned"))
    bounds, said, figures = _against(found, SEVEN, SEVEN_GB)
    weights = found.plans[SEVEN].weights or 0
    return decided(True, f"{weights / 1e9:.2f} billion weights take: {said}.", *figures, bounds=bounds)


def seventy(found: Evidence) -> Judgement:
    """Row 3: both sizes within 10 %, and the 4 bits with 4,096 tokens on two cards of 24 GB."""
    if SEVENTY not in found.plans:
        return untested(found.missing.get("plans", "nothing was planned"))
    bounds, said, figures = _against(found, SEVENTY, SEVENTY_GB)
    planned = found.plans[SEVENTY].precision("nf4")
    fit = next((it for it in planned.fits if it.card.name == "RTX 4090"), None)
    if fit is None:
        return untested("no card of 24 GB was planned for", *figures)
    cards = (
        f"Two RTX 4090 {'hold' if fit.cards <= 2 else 'do not hold'} nf4 with {found.plans[SEVENTY].context:,} tokens"
    )
    two = Bound("nf4 and the rest take", fit.nbytes, "at most", 2 * fit.card.nbytes, "bytes")
    return decided(
        fit.cards <= 2,
        f"{said}. {cards} ({units.size(fit.nbytes)}).",
        *figures,
        nbytes("nf4 with keys, values and activations", fit.nbytes, False),
        Figure("RTX 4090 needed", fit.cards, "", False),
        bounds=[*bounds, two],
    )


def double_quantization(found: Evidence) -> Judgement:
    """Row 4: 0.4 bits a weight, to one digit, of the quantized layers."""
    if why := found.why_no_run("nf4", "nf4-dq"):
        return untested(why)
    plain, double = (found.run(name) for name in ("nf4", "nf4-dq"))
    bits = [run.load.bits_per_quantized_weight for run in (plain, double) if run and run.load]
    if len(bits) < 2 or bits[0] is None or bits[1] is None:
        return untested("nothing of this model was quantized")
    saved = bits[0] - bits[1]
    return decided(
        True,
        f"A quantized weight takes {bits[0]:.3f} bits without and {bits[1]:.3f} with it.",
        Figure("saved a weight", saved, "bits"),
        bounds=(
            Bound("it saves", saved, "at least", 0.35, "bits"),
            Bound("it saves", saved, "less than", 0.45, "bits"),
        ),
    )


def batch(found: Evidence) -> Judgement:
    """Row 20: at least four sequences of 4,096 tokens beside a 4-bit 7B model on 12 GB."""
    planned = found.plans[SEVEN].precision("nf4") if SEVEN in found.plans else None
    fit = next((it for it in planned.fits if it.card.name == "RTX 3060"), None) if planned else None
    if fit is None:
        return untested(found.missing.get("plans", "no card of 12 GB was planned for"))
    largest = fit.largest_batch or 0
    return decided(
        True,
        f"An RTX 3060 (12,288 MiB) has room for nf4 and {largest} sequences of {found.plans[SEVEN].context:,} tokens, "
        "of a model that shares keys and values among four heads; one that does not has room for fewer.",
        Figure("largest batch", largest, "", False),
        bounds=(Bound("sequences that fit:", largest, "at least", 4),),
    )

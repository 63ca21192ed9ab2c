"""A plan in sentences, for the page and the terminal alike."""

from quantlab.records import Fit, Planned, Suited, units
from quantlab.records.planned import Finetuned

#: What a first use of CUDA takes of a card before anything of ours: PyTorch's maintainers name some 400 MB for CUDA
#: 11.7 and later (pytorch/pytorch, issue 109888). It differs by card, driver and libraries, so that no plan counts it.
CONTEXT_BYTES = 400 * 10**6


def computed(compute_dtype: str) -> str:
    """Which type the bytes of weights hang on beside the precision's own."""
    return (
        f"What a method leaves un-quantized (embeddings, norms) counts in {compute_dtype}, the compute type; "
        "--compute-dtype changes it. fp32, fp16, bf16 and GGUF have their own."
    )


def together(card: str, nbytes: int, context: int) -> str:
    """What "fits" speaks of where rows are held against a card."""
    size = "" if units.size(nbytes).replace(".0 ", " ") == card else f" ({units.size(nbytes)})"
    return (
        f"Fits is for {card}{size}: weights, keys and values of {context:,} tokens, and activations (an estimate) "
        "together."
    )


def verdict(planned: Planned, fit: Fit) -> str:
    """One sentence: whether a precision that can be had fits a card, and what is left or missing."""
    what, room = (
        f"{planned.precision} needs {units.size(fit.nbytes)}",
        f"{fit.card.name} ({units.size(fit.card.nbytes)})",
    )
    if not fit.fits:
        return f"{what}. It does not fit {room}: {_elsewhere(fit)}."
    return f"{what} and fits {room} with {units.size(fit.left)} to spare{_tight(fit)}."


def _elsewhere(fit: Fit) -> str:
    if fit.card.shared:
        return f"{units.size(fit.outside)} too much"
    return f"{units.size(fit.outside)} would lie in main memory, or it takes {fit.cards} such cards"


def _tight(fit: Fit) -> str:
    """What the rest has to hold too."""
    if fit.card.shared:
        return ", of which the system and other programs need a part"
    if fit.left < CONTEXT_BYTES:
        return f", which is tight: CUDA itself takes around {units.size(CONTEXT_BYTES)} of a card"
    return ""


def trained(found: Finetuned, fit: Fit | None) -> str:
    """The same of fine-tuning."""
    kind = {"full": "Training all weights", "lora": "LoRA on 16 bits", "qlora": f"QLoRA on {found.base}"}[found.kind]
    what = f"{kind} needs {units.size(found.total_bytes)} for {found.trainable:,} trained parameters"
    if fit is None:
        return f"{what}."
    room = f"{fit.card.name} ({units.size(fit.card.nbytes)})"
    if not fit.fits:
        return f"{what}. It does not fit {room}: {_elsewhere(fit)}."
    return f"{what} and fits {room} with {units.size(fit.left)} to spare{_tight(fit)}."


def longest(fit: Fit) -> str:
    return "none" if not fit.longest_context else f"{fit.longest_context:,}"


def largest(fit: Fit) -> str:
    return "none" if not fit.largest_batch else f"{fit.largest_batch:,}"


def suited(found: Suited) -> str:
    """What a model can be had at on a card, or why not."""
    if found.planned is not None:
        return found.planned.precision
    return found.why or "none fits"

"""What a training takes by part, and what would take less."""

from collections.abc import Iterator, Mapping

from quantlab import models
from quantlab.errors import QuantlabError, Unavailable
from quantlab.methods import method_of, precision
from quantlab.records import Model, ResolvedPlacement, units
from quantlab.records.finetuning import FinetuneSettings
from quantlab.runtime import hardware

#: Weights, a gradient of each, and the two moments of AdamW, all in the type of the weights.
_COPIES = 4
#: The base of the fewest bits that gradients flow through.
_FEWEST = "nf4-dq"


def stored_bytes(found: Model, base: str, where: ResolvedPlacement) -> int:
    """What the weights take at a precision, as it is planned before they are loaded."""
    chosen = precision(base)
    return method_of(chosen).estimate(chosen, where, models.checkpoint(found))


def refuse_too_large(found: Model, asked: FinetuneSettings, where: ResolvedPlacement) -> None:
    """Raises Unavailable where all weights could not be trained in the memory that is free, activations aside."""
    needed, free = _COPIES * stored_bytes(found, asked.precision, where), hardware.free_bytes(where.device)
    if needed > free:
        raise Unavailable(
            f"All weights of {found.name} cannot be trained here: with their gradients and the optimizer's two states "
            f"they take {units.size(needed)} before any activation, and {units.size(free)} are free.",
            "Train adapters instead (the method lora), or choose a smaller model.",
        )


def what_to_lower(
    found: Model, asked: FinetuneSettings, where: ResolvedPlacement, taken: Mapping[str, int], longest: int
) -> str:
    """Advice for a training that ran out of memory, with the bytes that each change saves, the largest first.

    `taken` are the bytes by part that were last told (nothing where the base was not loaded yet, activations only where
    a step got so far), `longest` the tokens of the longest row: activations fall in proportion to both rows and tokens.
    """
    try:
        ways = sorted(_ways(found, asked, where, taken, longest), key=lambda it: -it[0])
    except QuantlabError:  # the files went, or the base is planned for no such device
        ways = []
    said = [f"{what} (saves about {units.size(saved)})" if saved else what for saved, what in ways]
    return f"Lower one of these: {'; '.join(said)}." if said else "Choose a smaller model, or free some memory."


def _ways(
    found: Model, asked: FinetuneSettings, where: ResolvedPlacement, taken: Mapping[str, int], longest: int
) -> Iterator[tuple[int, str]]:
    stored = stored_bytes(found, asked.precision, where)
    if taken:
        yield from _of_rows(asked, taken.get("activations", 0), longest)
    if asked.method == "full":
        yield (_COPIES - 1) * stored, "the weights that are trained, by the method lora"
        if asked.precision == "fp32":
            yield _COPIES * stored // 2, "the precision to bf16"
        return
    # Adapters have a gradient each and two moments, whether a step got so far or not.
    trained, rank = _COPIES * taken.get("adapters", 0), asked.rank
    if taken and rank > 1:
        yield trained * (rank - rank // 2) // rank, f"the rank to {rank // 2:,}"
    if (saved := stored - stored_bytes(found, _FEWEST, where)) > 0:
        yield saved, f"the bits of the base, to {_FEWEST}"


def _of_rows(asked: FinetuneSettings, activations: int, longest: int) -> Iterator[tuple[int, str]]:
    """What fewer or shorter rows save."""
    tokens = min(asked.context, longest or asked.context)
    for value, what in ((asked.batch, "the batch"), (tokens, "the context")):
        if value > 1:
            yield activations * (value - value // 2) // value, f"{what} to {value // 2:,}"

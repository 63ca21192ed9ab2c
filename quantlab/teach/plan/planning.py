"""The plan: weights by the methods' own arithmetic, keys and values, activations, and the cards that hold them."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from quantlab.errors import BadInput, QuantlabError
from quantlab.methods import PRECISIONS, method_of, most_precise, precisions
from quantlab.methods.published import AS_PUBLISHED, as_stored
from quantlab.models.shapes import PREFIX, names
from quantlab.records import PARTS, Card, Fit, ModelNumbers, Plan, Planned, Precision, ResolvedPlacement, Suited
from quantlab.runtime.placement import compute_dtype as checked_dtype
from quantlab.settings import AppSettings
from quantlab.teach.plan.asked import USUAL_CONTEXT, Asked
from quantlab.teach.plan.finetuning import finetuned
from quantlab.teach.plan.memory import Demand, kv_type, most
from quantlab.teach.plan.numbers import wrong_number
from quantlab.teach.plan.subject import Subject, subject

#: Where no context limits it, the search for the longest ends here; and that for the largest batch.
MOST_CONTEXT, MOST_BATCH = 2**20, 100_000


def planned(model: str | ModelNumbers, asked: Asked, cards: Sequence[Card], app: AppSettings) -> Plan:
    """What `asked` takes of a model at its precisions, held against `cards`. Raises BadInput or ModelError."""
    found = subject(model, app)
    named, asked = asked.context, asked.of(found.network.context)
    wanted = precisions(asked.precisions or found.precisions)
    made = tuple(_planned(found, each, asked, cards) for each in wanted)
    trained = finetuned(found, asked, cards) if asked.finetune else None
    return Plan(
        found.name,
        found.weights,
        asked.tokens,
        found.network.context,
        asked.batch,
        made,
        trained,
        tuple(_notes(found, asked, named)),
        asked.compute_dtype,
    )


def suited(models: Sequence[str | ModelNumbers], asked: Asked, card: Card, app: AppSettings) -> tuple[Suited, ...]:
    """For each model the precision that fits the card with the most bits, no more than its files have.

    Only precisions that are listed are tried, or those `asked` for. A model that cannot be read says why. Raises
    BadInput for what is asked.
    """
    wanted = precisions(asked.precisions) if asked.precisions else tuple(PRECISIONS.values())
    return tuple(_suited(model, wanted, asked, card, app) for model in models)


def bundled() -> tuple[str, ...]:
    """The models that are looked through where none is named: the bundled shapes, small ones first."""
    return tuple(PREFIX + name for name in names())


def _suited(
    model: str | ModelNumbers, wanted: Sequence[Precision], asked: Asked, card: Card, app: AppSettings
) -> Suited:
    try:
        found = subject(model, app)
    except QuantlabError as error:
        return Suited(str(model), None, None, str(error))
    asked = asked.of(found.network.context)
    left = [it for it in wanted if it.bits <= found.published_bits and not _hopeless(found, it, card)]
    while left:
        best = most_precise(tuple(left))
        made = _planned(found, best, asked, (card,))
        if not made.refused and made.fits[0].fits:
            return Suited(found.name, found.weights, made)
        left.remove(best)
    return Suited(found.name, found.weights, None)


def _hopeless(found: Subject, chosen: Precision, card: Card) -> bool:
    """Whether so many weights of so few bits alone are far more than the card has: nothing is planned for that."""
    return found.weights is not None and found.weights * chosen.bits / 8 > 1.1 * card.nbytes


def _planned(found: Subject, chosen: Precision, asked: Asked, cards: Sequence[Card]) -> Planned:
    if method_of(chosen) is AS_PUBLISHED:
        chosen = as_stored(found.checkpoint, chosen.name)
    method, device = method_of(chosen), "cpu" if cards and cards[0].shared else "cuda"
    reason = method.refuses(chosen, found.checkpoint, device)
    if reason is not None:
        return Planned(chosen.name, chosen.bits, {}, "", 0, 0, (), reason)
    dtype = checked_dtype(asked.compute_dtype, device)
    parts = _parts(found, chosen, dtype)
    computed = method.dtype(chosen, ResolvedPlacement(device, dtype))
    demand = Demand(
        found.network, sum(parts.values()), kv_type(chosen.kv_cache or asked.kv, computed), computed, asked.piece
    )
    cache, activations = (it(asked.tokens, asked.batch) for it in (demand.kv_cache, demand.activations))
    fits = tuple(_fit(demand, card, asked) for card in cards)
    return Planned(chosen.name, chosen.bits, parts, demand.kv, cache, activations, fits)


@lru_cache(maxsize=512)
def _parts(found: Subject, chosen: Precision, dtype: str) -> Mapping[str, int]:
    """The weights' bytes by part, by the arithmetic of the ticks' estimates."""
    method, placement = method_of(chosen), ResolvedPlacement("cuda", dtype)
    parts = dict(method.parts(chosen, placement, found.checkpoint))
    # A method of another package may have an estimate of its own.
    rest = method.estimate(chosen, placement, found.checkpoint) - sum(parts.values())
    return {part: parts.get(part, 0) + (rest if part == "other" else 0) for part in PARTS}


def _fit(demand: Demand, card: Card, asked: Asked) -> Fit:
    nbytes = demand.total(asked.tokens, asked.batch)
    limit = max(asked.tokens, demand.network.context or MOST_CONTEXT)
    return Fit(
        card,
        nbytes,
        -(-nbytes // card.nbytes),
        most(lambda context: demand.total(context, asked.batch) <= card.nbytes, limit),
        most(lambda batch: demand.total(asked.tokens, batch) <= card.nbytes, MOST_BATCH),
    )


def _notes(found: Subject, asked: Asked, named: int | None) -> Iterator[str]:
    """`named` is the context that was asked for by a number."""
    network = found.network
    if named is None and asked.tokens < USUAL_CONTEXT:
        yield f"No context was named: it is planned for the {asked.tokens:,} tokens that the model was made for."
    if network.context is not None and asked.tokens > network.context:
        yield (
            f"{asked.tokens:,} tokens are more than the model was made for ({network.context:,}): it is planned all "
            "the same, but what it writes beyond them means little."
        )
    if network.stateful:
        yield (
            f"{network.stateful} of {network.layers} layers keep a state of a fixed size, which is not counted: it "
            "does not grow with the text."
        )
    if network.unsure:
        yield network.unsure


def check_context(tokens: Any) -> int:
    """Raises BadInput for what can be no number of tokens, None too."""
    return _check_number("context", tokens, 10**9)


def _check_number(what: str, value: Any, largest: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        raise BadInput(wrong_number(f"The {what}", value), f"Give a whole number from 1 to {largest:,}.")
    return value


def check(asked: Asked) -> Asked:
    """Raises BadInput for a context, a batch, a type or a precision that cannot be."""
    check_context(asked.tokens)
    _check_number("batch", asked.batch, 10**6)
    if asked.piece is not None and (not isinstance(asked.piece, int) or asked.piece < 1):
        raise BadInput(f"A prompt cannot be read {asked.piece!r} tokens at once.", "Give a whole number above zero.")
    kv_type(asked.kv, "float16")
    checked_dtype(asked.compute_dtype, "cpu")
    if asked.precisions:
        precisions(asked.precisions)
    return asked

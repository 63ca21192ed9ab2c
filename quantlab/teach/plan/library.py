"""What a program that imports quantlab calls for `quantlab.plan` and `quantlab.which_fit`."""

from collections.abc import Sequence

from quantlab.records import ModelNumbers, Plan, Suited
from quantlab.settings import app_settings
from quantlab.teach.plan import planning
from quantlab.teach.plan.asked import Asked
from quantlab.teach.plan.cards import CARDS
from quantlab.teach.plan.cards import card as card_of


def plan(
    model: str | ModelNumbers,
    precisions: Sequence[str] = (),
    context: int | None = None,
    batch: int = 1,
    kv: str = "auto",
    card: str | float | None = None,
    *,
    compute_dtype: str = "bfloat16",
    piece: int | None = None,
    finetune: str | None = None,
    rank: int = 16,
    targets: Sequence[str] = ("q_proj", "v_proj"),
    checkpointing: bool = True,
) -> Plan:
    """What a model would take at each precision with `batch` sequences of `context` tokens, and what of it fits where.

    Nothing is loaded; of a model on the Hub only its description is fetched. `precisions` empty: the usual ones.
    `context` None: 4,096 tokens, or as many as the model was made for where that is fewer; a note says so. `kv` is the
    type of keys and values: auto (as the precision computes), f32, f16, bf16, q8_0, q4_0, int8, int4. `card` is a name
    or a size (12 or "12GB"); None: every card that is known. `piece`: tokens of a prompt that are read at once; None:
    all. `finetune`: full, lora or qlora; `rank` and `targets` are of the adapters, `checkpointing` computes activations
    again.

    Bytes of weights, keys and values follow from the model's configuration; activations are an estimate. Raises
    BadInput or ModelError.
    """
    asked = Asked(
        tuple(precisions), context, batch, kv, compute_dtype, piece, finetune, rank, tuple(targets), checkpointing
    )
    cards = CARDS if card is None else (card_of(card),)
    return planning.planned(model, planning.check(asked), cards, app_settings())


def which_fit(
    card: str | float,
    models: Sequence[str | ModelNumbers] = (),
    context: int | None = None,
    batch: int = 1,
    kv: str = "auto",
    precisions: Sequence[str] = (),
) -> tuple[Suited, ...]:
    """For each model the precision with the most bits that fits a card, no more than its files have.

    `models` empty: the bundled shapes. `context` as in `plan`. `precisions` empty: all that there are. A model that
    cannot be read says why.
    Raises BadInput.
    """
    asked = planning.check(Asked(tuple(precisions), context, batch, kv))
    return planning.suited(models or planning.bundled(), asked, card_of(card), app_settings())

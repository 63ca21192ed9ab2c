"""What training takes: all weights, LoRA on 16 bits, QLoRA on nf4 with double quantization.

Bytes of weights are the methods' own, and adapters' parameters follow exactly from the layers' shapes. Gradients and
the states of AdamW are so many bytes a trained parameter. Activations are an estimate.
"""

import math
from collections.abc import Sequence

from quantlab.errors import BadInput, unknown
from quantlab.methods import method_of, precision
from quantlab.methods.weights import Weight
from quantlab.records import Card, Finetuned, Fit, ResolvedPlacement
from quantlab.teach.plan.asked import Asked
from quantlab.teach.plan.network import Network
from quantlab.teach.plan.numbers import wrong_number
from quantlab.teach.plan.subject import Subject

#: The precision of the weights below: Hu et al. 2021 (arXiv:2106.09685) on 16 bits, Dettmers et al. 2023
#: (arXiv:2305.14314) on nf4 with double quantization.
BASES: dict[str, str] = {"full": "bf16", "lora": "bf16", "qlora": "nf4-dq"}
#: AdamW keeps two moments in float32 for each trained parameter (Loshchilov and Hutter 2017, arXiv:1711.05101); where
#: weights have 16 bits a float32 copy of them too (mixed precision: Rajbhandari et al. 2019, arXiv:1910.02054, 3.1).
MOMENTS, MASTER = 8, 4
#: PEFT keeps adapters in float32 also on weights of 16 bits (its `autocast_adapter_dtype`), their gradients too.
ADAPTER = 4
#: Bytes of the loss for each token and entry of the vocabulary.
LOSS = 12
#: Every linear layer, as PEFT names them.
ALL = "all-linear"
_MOST_RANK = 65_536


def finetuned(found: Subject, asked: Asked, cards: Sequence[Card]) -> Finetuned:
    """Raises BadInput for a kind, a rank or targets that cannot be."""
    kind = asked.finetune
    if kind is None or kind not in BASES:
        raise unknown("kind of fine-tuning", str(kind), BASES)
    base = precision(BASES[kind])
    method, placement = method_of(base), ResolvedPlacement("cuda", "bfloat16")
    if (reason := method.refuses(base, found.checkpoint, "cuda")) is not None:
        raise BadInput(f"{found.name} cannot be fine-tuned so: {base.name} {reason}.", "Choose an original model.")
    stored = method.estimate(base, placement, found.checkpoint)
    weights = method.layout(base, placement, found.checkpoint).weights
    parts = {"weights": stored}
    if kind == "full":
        trainable = sum(math.prod(it.shape) for it in weights)
        parts |= {"adapters": 0, "gradients": 2 * trainable, "optimizer": (MOMENTS + MASTER) * trainable}
    else:
        trainable = _adapter_parameters(weights, asked.rank, asked.targets)
        parts |= {"adapters": ADAPTER * trainable, "gradients": ADAPTER * trainable, "optimizer": MOMENTS * trainable}
    parts["activations"] = activation_bytes(found.network, asked.tokens, asked.batch, asked.checkpointing)
    total = sum(parts.values())
    fits = tuple(Fit(card, total, -(-total // card.nbytes)) for card in cards)
    low_rank = kind != "full"
    return Finetuned(
        kind, base.name, asked.rank if low_rank else None, asked.targets if low_rank else (), trainable, parts, fits
    )


def _adapter_parameters(weights: Sequence[Weight], rank: int, targets: Sequence[str]) -> int:
    """Two matrices a layer, `[rank, inputs]` and `[outputs, rank]` (Hu et al. 2021, 4.1)."""
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= _MOST_RANK:
        raise BadInput(wrong_number("The rank of an adapter", rank), f"Give a whole number from 1 to {_MOST_RANK:,}.")
    shapes = [(_layer(it.name), it.shape) for it in weights if it.kind == "linear"]
    there = sorted({name for name, _ in shapes})
    if not targets:
        raise BadInput("No layer was named for the adapters.", f"Choose from: {', '.join((*there, ALL))}.")
    for target in targets:
        if target not in (*there, ALL):
            raise unknown("layer", target, (*there, ALL))
    chosen = [shape for name, shape in shapes if ALL in targets or name in targets]
    return sum(rank * (outputs + inputs) for outputs, inputs in chosen)


def _layer(name: str) -> str:
    return name.removesuffix(".weight").rpartition(".")[2]


def activation_bytes(network: Network, tokens: int, batch: int, checkpointing: bool) -> int:
    """An estimate for one step in 16 bits, by Korthikanti et al. 2022 (arXiv:2205.05198).

    34 bytes for each token, sequence and hidden value a layer, where attention keeps no matrix of its own (table 2,
    selective recomputation); with gradient checkpointing 2, and one layer's 34 while it is computed again. For each
    token and entry of the vocabulary 12: logits in 16 bits and in float32, log-probabilities and the gradient's 2, as
    transformers' loss holds them.
    """
    one = tokens * batch * network.hidden
    layers = 2 * one * network.layers + 34 * one if checkpointing else 34 * one * network.layers
    return layers + LOSS * tokens * batch * network.vocabulary

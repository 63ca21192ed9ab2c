"""A model of nothing but its numbers, as the checkpoint that it would be."""

import math
from dataclasses import fields

from quantlab.errors import BadInput
from quantlab.models.shapes import shape_tensors
from quantlab.records import Checkpoint, ModelNumbers

#: The name of such a model in a plan.
TYPED = "numbers as typed"
_MOST = 10_000_000
_WORDS = {
    "layers": "layers", "hidden_size": "hidden size", "heads": "attention heads", "intermediate_size": "MLP size",
    "vocabulary": "vocabulary", "key_value_heads": "key-value heads", "head_dim": "head size",
}  # fmt: skip


def wrong_number(what: str, value: object) -> str:
    """That `what` cannot be so; a box that was emptied gives None."""
    return f"{what} was left empty." if value is None else f"{what} cannot be {value!r}."


def checked(numbers: ModelNumbers) -> ModelNumbers:
    """Raises BadInput for what is no number of a model, and for heads that do not divide."""
    for field in fields(numbers):
        value = getattr(numbers, field.name)
        if field.name == "tied" or (value is None and field.name in ("key_value_heads", "head_dim")):
            continue
        most = 1_000 if field.name == "layers" else _MOST
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            word = _WORDS[field.name]
            raise BadInput(
                wrong_number(f"{word[:1].upper()}{word[1:]}", value), f"Give a whole number from 1 to {most:,}."
            )
    if numbers.head_dim is None and numbers.hidden_size % numbers.heads:
        raise BadInput(
            f"A hidden size of {numbers.hidden_size:,} does not divide among {numbers.heads:,} attention heads.",
            "Give another number of heads, or the head size too.",
        )
    if numbers.heads % (numbers.key_value_heads or numbers.heads):
        raise BadInput(
            f"{numbers.heads:,} attention heads cannot share {numbers.key_value_heads:,} key-value heads evenly.",
            "The number of key-value heads must divide that of attention heads.",
        )
    return numbers


def checkpoint(numbers: ModelNumbers) -> Checkpoint:
    """What would be known of such a model: of the Llama kind, in bfloat16. Raises BadInput."""
    given = checked(numbers)
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": given.layers,
        "hidden_size": given.hidden_size,
        "num_attention_heads": given.heads,
        "num_key_value_heads": given.key_value_heads or given.heads,
        "head_dim": given.head_dim or given.hidden_size // given.heads,
        "intermediate_size": given.intermediate_size,
        "vocab_size": given.vocabulary,
        "tie_word_embeddings": given.tied,
        # GGUF needs some length in its header; a plan of typed numbers has none.
        "max_position_embeddings": 4_096,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
    }
    tensors = shape_tensors(config)
    return Checkpoint(config, tensors, sum(2 * math.prod(it.shape) for it in tensors.values()))

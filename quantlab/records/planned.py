"""What memory a model would take, planned from its configuration; see docs/measurement.md, "Will it fit?"."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelNumbers:
    """A model as its numbers alone: a decoder of the Llama kind. `key_value_heads` None: as many as `heads`;
    `head_dim` None: hidden_size / heads."""

    layers: int
    hidden_size: int
    heads: int
    intermediate_size: int
    vocabulary: int
    key_value_heads: int | None = None
    head_dim: int | None = None
    tied: bool = False


@dataclass(frozen=True)
class Card:
    """Memory that a plan is held against. `source` says where its bytes were read; empty: as typed.

    `shared`: main or unified memory, of which the system and other programs need a part.
    """

    name: str
    nbytes: int
    source: str = ""
    shared: bool = False


@dataclass(frozen=True)
class Fit:
    """One planned total on one card.

    `cards` is how many such cards hold it, by bytes alone. `longest_context` and `largest_batch` are the most that fit
    with all else as it is, 0 where not even one does; the context ends at the model's own where that is known, and
    None where none was looked for.
    """

    card: Card
    nbytes: int
    cards: int
    longest_context: int | None = None
    largest_batch: int | None = None

    @property
    def left(self) -> int:
        """Bytes that stay free; below zero what is missing."""
        return self.card.nbytes - self.nbytes

    @property
    def fits(self) -> bool:
        return self.left >= 0

    @property
    def outside(self) -> int:
        """Bytes that would have to lie in main memory."""
        return max(0, -self.left)


@dataclass(frozen=True)
class Planned:
    """One precision. `parts` (see `PARTS`) add up to the weights' bytes; `quantization` are scales and codebooks.

    `activation_bytes` is an estimate, all else follows from the configuration. `refused` says why the model cannot be
    had at the precision, in words that go on from "it ..."; then there are no figures.
    """

    precision: str
    bits: float
    parts: Mapping[str, int]
    kv: str
    kv_cache_bytes: int
    activation_bytes: int
    fits: tuple[Fit, ...] = ()
    refused: str = ""

    @property
    def stored_bytes(self) -> int:
        return sum(self.parts.values())

    @property
    def total_bytes(self) -> int:
        return self.stored_bytes + self.kv_cache_bytes + self.activation_bytes


@dataclass(frozen=True)
class Finetuned:
    """Fine-tuning: bytes by what they hold (`FINETUNE_PARTS`), of which `activations` are an estimate.

    `kind` is full, lora or qlora, `base` the precision of the weights that are trained or that adapters lie on;
    `trainable` counts parameters.
    """

    kind: str
    base: str
    rank: int | None
    targets: tuple[str, ...]
    trainable: int
    parts: Mapping[str, int]
    fits: tuple[Fit, ...] = ()

    @property
    def total_bytes(self) -> int:
        return sum(self.parts.values())


FINETUNE_PARTS = ("weights", "adapters", "gradients", "optimizer", "activations")


@dataclass(frozen=True)
class Plan:
    """What a model would take at several precisions with so many tokens in so many sequences.

    `compute_dtype` is that of what a method leaves un-quantized.

    `weights` counts its parameters, `model_context` is the length it was made for, None where that is not told.
    """

    model: str
    weights: int | None
    context: int
    model_context: int | None
    batch: int
    precisions: tuple[Planned, ...]
    finetuned: Finetuned | None = None
    notes: tuple[str, ...] = ()
    compute_dtype: str = ""

    def precision(self, name: str) -> Planned:
        """Raises KeyError where it was not planned."""
        for planned in self.precisions:
            if planned.precision == name:
                return planned
        raise KeyError(name)


@dataclass(frozen=True)
class Suited:
    """For one model the precision with the most bits that fits a card; `planned` None where none does, or `why`."""

    model: str
    weights: int | None
    planned: Planned | None
    why: str = ""

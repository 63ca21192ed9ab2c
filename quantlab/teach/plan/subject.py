"""The model that is planned for: a name that quantlab resolves, or numbers; what is known of it without its weights."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from quantlab import models
from quantlab.errors import ModelError
from quantlab.models import shapes
from quantlab.models.facts import parameters
from quantlab.models.folder import DTYPE_BITS
from quantlab.models.source import is_gguf
from quantlab.records import Checkpoint, ModelNumbers
from quantlab.settings import AppSettings
from quantlab.teach.plan import numbers as typed
from quantlab.teach.plan.network import Network, network

#: What is planned where no precision is named: of an original, of a GGUF file, of what is quantized already.
ORIGINAL, OF_GGUF, QUANTIZED = ("bf16", "int8", "nf4", "q4_k_m"), ("stored", "bf16", "int8", "nf4"), ("stored",)


@dataclass(frozen=True, eq=False)
class Subject:
    """`weights` are its parameters, None where packed tensors hide their number; `published_bits` those of one weight
    as its files hold it."""

    name: str
    checkpoint: Checkpoint
    network: Network
    weights: int | None
    published_bits: int

    @property
    def precisions(self) -> tuple[str, ...]:
        if self.checkpoint.stored_as is not None:
            return QUANTIZED
        return ORIGINAL if self.checkpoint.file is None else OF_GGUF


def subject(model: str | ModelNumbers, app: AppSettings) -> Subject:
    """Of a model on the Hub only its description is fetched. A shape is none of its models, so that every one of them
    can be planned in public too. Raises BadInput or ModelError."""
    if isinstance(model, ModelNumbers):
        return _of_numbers(model)
    name = model.strip()
    if name.casefold().startswith(shapes.PREFIX):
        return _of_shape(shapes.canonical(name))
    return _subject(name, _peeked(name, app))


def _peeked(name: str, app: AppSettings) -> Checkpoint:
    """Of a GGUF file whose tokenizer transformers cannot read the header alone: a plan reads no text."""
    try:
        return models.peek_main(name, app)
    except ModelError:
        if not is_gguf(name) or models.SEPARATOR in name:
            raise
        return models.peek(name, app)


@lru_cache(maxsize=64)
def _of_numbers(given: ModelNumbers) -> Subject:
    found = _subject(typed.TYPED, typed.checkpoint(given))
    return replace(found, network=replace(found.network, context=None))


@lru_cache(maxsize=64)
def _of_shape(name: str) -> Subject:
    config = shapes.shape_config(name)
    tensors = shapes.shape_tensors(config)
    nbytes = sum(math.prod(it.shape) * DTYPE_BITS[it.dtype] // 8 for it in tensors.values())
    return _subject(shapes.PREFIX + name, Checkpoint(config, tensors, nbytes))


def _subject(name: str, checkpoint: Checkpoint) -> Subject:
    tensors = checkpoint.tensors.values()
    weights = parameters(checkpoint)
    bits = max((DTYPE_BITS.get(it.dtype, 16) for it in tensors if len(it.shape) > 1), default=16)
    return Subject(name, checkpoint, network(checkpoint, name), weights, 16 if weights is None else bits)

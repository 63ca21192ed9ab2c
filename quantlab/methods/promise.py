"""What was promised before a model was loaded, held against what is there afterwards.

Estimate and load walk different things: tensors of files and modules of a network. Where they part, somebody would
decide by a figure that does not hold, so every load is checked and what differs is a note beside its figures.
"""

import math
from collections.abc import Iterable, Iterator

from quantlab import models
from quantlab.methods.base import Method
from quantlab.records import Checkpoint, Model, Variant, silent
from quantlab.records.units import percent, size
from quantlab.runtime.session import LoadedModel, Storage

#: What differs by more than this share is told.
SHARE = 0.01


def promised(loaded: LoadedModel, storage: Storage, method: Method, variant: Variant, source: Model) -> tuple[str, ...]:
    """Notes on what is otherwise than promised: bytes, layers left wide, tensors of the files that nothing uses.

    `variant` says what was asked for; `source` is what was read, its own checkpoint where one is kept. `storage` was
    measured before the first product. Raises ModelError where the model cannot be measured at all: see
    `runtime.pieces`.
    """
    notes: list[str] = []
    if loaded.network is not None:
        from quantlab.models.quiet import watching
        from quantlab.runtime.pieces import prove
        from quantlab.runtime.torch_session import TorchModel

        with watching(silent):  # some classes tell the terminal at their first pass which kernels they lack
            notes += prove(loaded, variant.model.name) if isinstance(loaded, TorchModel) else ()
    notes += _left_wide(loaded, storage) if method.quantizes else ()
    notes += _unused(loaded, source)
    notes += _bytes(storage, method, variant, models.checkpoint(variant.model))
    return tuple(notes)


def _bytes(storage: Storage, method: Method, variant: Variant, checkpoint: Checkpoint) -> Iterator[str]:
    planned = method.estimate(variant.precision, variant.placement, checkpoint)
    if abs(storage.total - planned) > SHARE * planned:
        yield f"it takes {size(storage.total)}, and {size(planned)} were estimated before it was loaded"


def _left_wide(loaded: LoadedModel, storage: Storage) -> Iterator[str]:
    """Weights in linear layers and experts that a quantized variant keeps in floating point."""
    if loaded.network is None or not storage.quantized_weights:
        return
    from quantlab.methods.skeleton import still_wide

    wide = still_wide(loaded.network)
    share = sum(wide.values()) / storage.weights
    if share > SHARE:
        yield f"{percent(share)} of the weights stay un-quantized beside embeddings and output head: {_first(wide)}"


def _unused(loaded: LoadedModel, source: Model) -> Iterator[str]:
    """Tensors of the files that the network has no place for."""
    names = getattr(loaded.network, "unused_tensors", ())
    tensors = models.tensors(source) if names else {}
    unused = [name for name in names if name in tensors]
    total = sum(math.prod(info.shape) for info in tensors.values())
    share = sum(math.prod(tensors[name].shape) for name in unused) / total if total else 0
    if share > SHARE:
        yield f"{percent(share)} of the weights in its files are not used: {_first(unused)}"


def _first(names: Iterable[str]) -> str:
    first, *others = names
    return f"{first} and {len(others)} more" if others else first

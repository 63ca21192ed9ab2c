"""Short ways to load one variant, and a garbage collector that looks at new objects only."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from quantlab.methods import method_of, precision
from quantlab.records import Model, Placement, Progress, silent
from quantlab.runtime.placement import resolve
from quantlab.runtime.session import LoadedModel


def load(model: Model, name: str, progress: Progress = silent, placement: Placement | None = None) -> LoadedModel:
    """One variant, on the CPU unless `placement` says otherwise."""
    chosen = precision(name)
    return method_of(chosen).load(model, chosen, resolve(placement or Placement("cpu")), progress)


@contextmanager
def small_heap() -> Iterator[None]:
    """Hide all objects that exist now from the garbage collector.

    Dropping a variant collects garbage, which takes half a second among the objects of torch and transformers and
    some ten milliseconds without them; and what `gc.get_objects` lists was made inside.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()

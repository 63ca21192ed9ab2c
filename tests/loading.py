"""Short ways to load one variant, and a garbage collector that looks at new objects only."""

import gc
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch

from quantlab.checkpoints.load import load_variant
from quantlab.checkpoints.store import CheckpointStore
from quantlab.methods import method_of, precision, variant_of
from quantlab.records import Calibration, Model, Placement, Progress, Variant, silent
from quantlab.runtime import worker
from quantlab.runtime.placement import resolve
from quantlab.runtime.session import LoadedModel

#: Enough for methods that read a text to work, and read in a second.
CALIBRATION = Calibration(samples=8, length=64)
#: 2,048 tokens: a hundredth of the default, and enough for the bundled model to win by far.
LITTLE = Calibration(samples=8, length=256)


@cache
def store() -> CheckpointStore:
    """Where the variants of kept methods lie while the tests run: each is built once, also for programs they start."""
    return CheckpointStore(Path(os.environ["QUANTLAB_CACHE_FOLDER"]), 10**10)


def variant(
    model: Model, name: str, placement: Placement | None = None, calibration: Calibration = CALIBRATION
) -> Variant:
    """One variant, on the CPU in float32 unless `placement` says otherwise, with little calibration.

    The default type of a machine is its processor's: what a test expects must not hang on that.
    """
    return variant_of(model, precision(name), resolve(placement or Placement("cpu", "float32")), calibration)


def load(
    model: Model,
    name: str,
    progress: Progress = silent,
    placement: Placement | None = None,
    calibration: Calibration = CALIBRATION,
) -> LoadedModel:
    """Load `variant(...)`. What a kept method builds is built before `progress` is told of anything."""
    wanted = variant(model, name, placement, calibration)
    if method_of(wanted.precision).kept:
        with llama_cpp_at_once():
            store().get(wanted, silent)
    return load_variant(wanted, progress, store()).loaded


@contextmanager
def llama_cpp_at_once() -> Iterator[None]:
    """What llama.cpp would do in a process of its own it does in this one: each such process imports torch anew.

    gptqmodel keeps its own, where its patches of transformers stay.
    """
    apart = worker.run

    def run(task, arguments, progress, *more):
        module, _, name = task.partition(":")
        if ".gguf." not in module:
            return apart(task, arguments, progress, *more)
        return getattr(importlib.import_module(module), name)(progress, **arguments)

    with patch.object(worker, "run", run):
        yield


def small_heap() -> None:
    """Hide all objects that exist now from the garbage collector.

    Dropping a variant collects garbage, which takes half a second among the objects of torch and transformers and
    some ten milliseconds without them; and what `gc.get_objects` lists was made later.
    """
    gc.collect()
    gc.freeze()

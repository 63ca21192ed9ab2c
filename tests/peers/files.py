"""The GGUF files that both sides read, made by quantlab, and how llama.cpp is told to run them as quantlab does."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from quantlab import models
from quantlab.checkpoints.load import GGUF_NAME, checkpoint_store, load_variant
from quantlab.methods import precision, variant_of
from quantlab.records import Calibration, Model, Placement, silent
from quantlab.runtime.placement import resolve
from quantlab.runtime.session import LoadedModel
from quantlab.settings import app_settings

MODEL = "smollm2"
REFERENCE = "f16"


@dataclass(frozen=True)
class Both:
    """One file, and quantlab's model of it."""

    file: Path
    loaded: LoadedModel


@cache
def model() -> Model:
    return models.resolve(MODEL, app_settings())


@cache
def placement() -> Placement:
    return resolve(Placement("cpu"))


@contextmanager
def opened(name: str) -> Iterator[Both]:
    """The file of that precision, built where it is not kept yet, loaded for as long as the block takes."""
    variant = variant_of(model(), precision(name), placement(), Calibration())
    loaded = load_variant(variant, silent).loaded
    try:
        yield Both(checkpoint_store().get(variant, silent).folder / GGUF_NAME, loaded)
    finally:
        loaded.close()


def alike() -> tuple[str, ...]:
    """The options of both programs for what quantlab sets: threads, the type of keys and values, plain attention."""
    cache_type = "f32" if placement().compute_dtype == "float32" else "f16"
    return ("-t", str(torch.get_num_threads()), "-ctk", cache_type, "-ctv", cache_type, "-fa", "off", "-ngl", "0")

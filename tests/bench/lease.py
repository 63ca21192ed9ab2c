"""How long it takes to get a variant that is already loaded."""

import time
from statistics import median

from quantlab import models
from quantlab.methods import precision
from quantlab.records import Placement, Variant
from quantlab.runs.compare import variant_cache
from quantlab.runtime.placement import resolve
from quantlab.settings import app_settings


def measure(device: str, repeats: int) -> float:
    """The median in seconds."""
    model = models.resolve("demo", app_settings())
    variant = Variant(model, precision("nf4"), resolve(Placement(device)))
    with variant_cache().lease(variant):
        pass
    samples = []
    for _ in range(max(repeats, 5)):
        begun = time.perf_counter()
        with variant_cache().lease(variant):
            samples.append(time.perf_counter() - begun)
    return median(samples)

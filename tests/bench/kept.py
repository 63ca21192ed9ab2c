"""What it saves to keep a quantized checkpoint: the wait for a build, and for the load of what was built."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from quantlab import models
from quantlab.checkpoints.load import load_variant
from quantlab.checkpoints.store import CheckpointStore
from quantlab.methods import METHODS, method_of, precision, variant_of
from quantlab.records import Calibration, Placement, silent
from quantlab.runtime.placement import resolve
from quantlab.settings import app_settings

#: One of each kept method, enough to tell.
PRECISIONS = ("gptq-4", "awq-4", "q4_k_m")


@dataclass(frozen=True)
class Row:
    """Seconds from asking to being ready: `built_s` of the first time, `disk_s` the median of later ones."""

    model: str
    precision: str
    built_s: float
    disk_s: float


def measure(name: str, device: str, repeats: int) -> list[Row]:
    """One row for each of `PRECISIONS` that runs here. Nothing that is kept already is used."""
    model, placement = models.resolve(name, app_settings()), resolve(Placement(device))
    rows = []
    with TemporaryDirectory(prefix="quantlab-bench-") as folder:
        store = CheckpointStore(Path(folder), 10**11)
        for chosen in map(precision, PRECISIONS):
            method = method_of(chosen)
            if method.unavailable(device):
                continue
            method.prepare()
            variant = variant_of(model, chosen, placement, Calibration())
            times = []
            for _ in range(1 + repeats):
                begun = time.perf_counter()
                load_variant(variant, silent, store).loaded.close()
                times.append(time.perf_counter() - begun)
            rows.append(Row(name, chosen.name, times[0], median(times[1:])))
            print(f"{name} {chosen.name}: {times[0]:.1f} s, {rows[-1].disk_s:.2f} s", file=sys.stderr, flush=True)
    return rows


assert set(PRECISIONS) <= {p.name for method in METHODS.values() for p in method.precisions if method.kept}

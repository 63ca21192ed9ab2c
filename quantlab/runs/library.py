"""What a program that imports quantlab calls for `quantlab.estimate` and `quantlab.quantize`: by a model's name."""

import threading
from pathlib import Path

from quantlab import models
from quantlab.checkpoints import export
from quantlab.records import Calibration, Estimate, Placement, Progress, silent
from quantlab.runs.estimates import estimates
from quantlab.runtime.background import result
from quantlab.settings import app_settings


def estimate(model: str, placement: Placement | None = None) -> tuple[Estimate, ...]:
    """What a model would take at every precision, in bytes, and why it cannot be had at some; nothing is loaded.

    `placement` None is a GPU where there is one, else the CPU. Of a model on the Hub only its description is fetched.
    Raises BadInput or ModelError.
    """
    return estimates(models.peek_main(model, app_settings()), placement or Placement("auto"))


def quantize(
    model: str,
    precision: str,
    out: str | Path,
    placement: Placement | None = None,
    calibration: Calibration | None = None,
    *,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> export.Saved:
    """Write a model at one precision into the folder `out`, which must not exist or be empty.

    `placement` as in `estimate`. `progress` is told (done, total, what), total 0 while unknown, and may raise
    `Stopped`. That, and setting `stop` from another thread, ends the work and leaves nothing behind.

    Raises BadInput, ModelError, Unavailable, OutOfMemory or Stopped.
    """
    steps = export.quantize(model, precision, out, placement, calibration, stop=stop)
    return result(steps, lambda step: progress(*step))

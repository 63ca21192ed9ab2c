"""One model at one precision, written to a folder as an ordinary checkpoint that other programs load."""

import os
import shutil
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from quantlab import models
from quantlab.checkpoints.load import checkpoint_store, with_weights
from quantlab.checkpoints.store import check_space, write_manifest
from quantlab.errors import BadInput, Unavailable
from quantlab.methods import PRECISIONS, method_of, precision, variant_of, without_kv_cache
from quantlab.methods.base import Method
from quantlab.records import Calibration, Placement, Precision, Progress, Variant
from quantlab.runtime import placement as placements
from quantlab.runtime.background import in_background
from quantlab.runtime.least_recent import nbytes
from quantlab.settings import app_settings


@dataclass(frozen=True)
class Saved:
    """What was written: where, how many bytes, and how long quantizing took (`reused`: some time ago)."""

    folder: Path
    nbytes: int
    build_s: float
    reused: bool


def quantize(
    model: str,
    precision_name: str,
    out: str | Path,
    placement: Placement | None = None,
    calibration: Calibration | None = None,
    *,
    stop: threading.Event | None = None,
) -> Generator[tuple[int, int, str], None, Saved]:
    """Quantize a model into the folder `out`, which must not exist or be empty.

    Gives progress as (done, total, what), and at the end what was written. What is kept on disk already is copied.
    Setting `stop`, or closing the generator, ends the work and leaves nothing behind.

    Raises BadInput, ModelError, Unavailable, OutOfMemory or Stopped.
    """
    chosen = precision(precision_name)
    if chosen.kv_cache is not None:
        raise BadInput(
            f"Keys and values are no part of a checkpoint ({chosen.name}).",
            f"Write {without_kv_cache(chosen).name}, and choose the cache where it runs.",
        )
    if not savable(chosen):
        raise Unavailable(
            f"{chosen.name} has no checkpoint of its own that other programs could read.",
            f"Choose one of: {', '.join(name for name, one in PRECISIONS.items() if savable(one))}.",
        )
    folder = free_folder(out)
    where = placements.resolve(placement or Placement("auto"))
    _refuse(chosen, method_of(chosen).unavailable(where.device))

    def job(progress: Progress) -> Saved:
        with checkpoint_store().work.beside(folder) as aside:
            found = models.resolve_main(model, app_settings(), progress)
            _refuse(chosen, method_of(chosen).refuses(chosen, models.checkpoint(found), where.device))
            variant = variant_of(found, chosen, where, calibration or Calibration())
            build_s, reused = _write(variant, aside, progress)
            return Saved(folder, nbytes(aside), build_s, reused)

    return in_background(job, stop or threading.Event())


def savable(chosen: Precision) -> bool:
    """Whether a precision has a checkpoint that other programs read. Needs no model, and imports nothing."""
    return type(method_of(chosen)).build is not Method.build


def _refuse(chosen: Precision, reason: str | None) -> None:
    if reason:
        raise Unavailable(f"{chosen.name} cannot be made here: it {reason}.")


def _write(variant: Variant, folder: Path, progress: Progress) -> tuple[float, bool]:
    """Fill the folder; returns how many seconds quantizing took, and whether that was some time ago."""
    method = method_of(variant.precision)
    if method.kept:
        kept = checkpoint_store().get(with_weights(variant, checkpoint_store(), progress), progress)
        shutil.copytree(kept.folder, folder, dirs_exist_ok=True)
        return kept.build_s, not kept.built_now
    variant = with_weights(variant, checkpoint_store(), progress)
    check_space(variant, folder)
    method.prepare()
    begun = time.perf_counter()
    method.build(variant, folder, progress)
    build_s = time.perf_counter() - begun
    models.check_unchanged(variant.model)
    write_manifest(variant, folder, build_s)
    return build_s, False


def free_folder(out: str | Path) -> Path:
    """The folder to write into. Raises BadInput where it holds something, or cannot be."""
    if not str(out).strip():
        raise BadInput("No folder was named.", "Say where to write the checkpoint.")
    folder = Path(os.path.expanduser(out)).absolute()
    try:
        taken = any(folder.iterdir()) if folder.is_dir() else folder.exists()
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        why = getattr(error, "strerror", error)
        raise BadInput(f"{folder} cannot be used ({why}).", "Name another folder.") from error
    if taken:
        raise BadInput(f"{folder} exists and is not empty.", "Name a new folder: nothing is written over.")
    return folder

"""One model at one precision, written to a folder as an ordinary checkpoint that other programs load."""

import shutil
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from quantlab import models
from quantlab.engine.background import in_background
from quantlab.engine.bring import checkpoint_store
from quantlab.engine.disk import check_space, folder_bytes, write_manifest, written_aside
from quantlab.errors import BadInput, Unavailable
from quantlab.methods import method_of, precision, variant_of
from quantlab.records import Calibration, Placement, Progress, Variant
from quantlab.runtime import placement as placements
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

    Yields progress as (done, total, what); returns what was written. What is kept on disk already is copied. Setting
    `stop`, or closing the generator, ends the work and leaves nothing behind.

    Raises BadInput, ModelError, Unavailable, OutOfMemory or Stopped.
    """
    chosen = precision(precision_name)
    folder = _free_folder(out)
    where = placements.resolve(placement or Placement("auto"))

    def job(progress: Progress) -> Saved:
        variant = variant_of(
            models.resolve(model, app_settings(), progress), chosen, where, calibration or Calibration()
        )
        method = method_of(chosen)
        reason = method.unavailable(where.device) or method.refuses(
            chosen, models.checkpoint(variant.model), where.device
        )
        if reason:
            raise Unavailable(f"{chosen.name} cannot be made here: it {reason}.")
        return _save(variant, folder, progress)

    return (yield from in_background(job, stop or threading.Event()))


def _save(variant: Variant, folder: Path, progress: Progress) -> Saved:
    method = method_of(variant.precision)
    if not method.kept:
        method.prepare()
    with written_aside(folder.parent / f".{folder.name}.{uuid4().hex}", folder) as aside:
        if method.kept:
            kept = checkpoint_store().get(variant, progress)
            shutil.copytree(kept.folder, aside, dirs_exist_ok=True)
            return Saved(folder, folder_bytes(aside), kept.build_s, not kept.built_now)
        check_space(variant, aside)
        begun = time.perf_counter()
        method.build(variant, aside, progress)
        build_s = time.perf_counter() - begun
        write_manifest(variant, aside, build_s)
        return Saved(folder, folder_bytes(aside), build_s, False)


def _free_folder(out: str | Path) -> Path:
    if not str(out).strip():
        raise BadInput("No folder was named.", "Say where to write the checkpoint.")
    folder = Path(out).expanduser().absolute()
    try:
        taken = any(folder.iterdir()) if folder.is_dir() else folder.exists()
    except OSError as error:
        raise BadInput(f"{folder} cannot be used ({error.strerror}).", "Name another folder.") from error
    if taken:
        raise BadInput(f"{folder} exists and is not empty.", "Name a new folder: nothing is written over.")
    return folder

"""Quantized checkpoints kept on disk, so that what took minutes is done once.

A checkpoint is written aside and renamed when it is whole, so that neither a crash nor a full disk ever leaves half of
one where it would be found. A file lock lets one process build while others wait for it. The least recently used ones
go when all together exceed the limit.
"""

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import Timeout

from quantlab import models
from quantlab.checkpoints.staging import StagingArea, atomic_folder
from quantlab.errors import Unavailable
from quantlab.methods import method_of
from quantlab.records import Progress, Variant, units
from quantlab.runtime.disk import disk_error
from quantlab.runtime.least_recent import Item, item, shrink, touch

MANIFEST = "quantlab.json"
#: Changes when what a build writes for the same options does.
FORMAT = 1
_POLL_S = 0.1


@dataclass(frozen=True)
class CachedCheckpoint:
    """A whole checkpoint on disk. `built_now`: this call made it. `build_s`: how long that took, then or now."""

    folder: Path
    build_s: float
    built_now: bool


@dataclass(frozen=True)
class Entry:
    """A line of `quantlab cache list`."""

    name: str
    model: str
    precision: str
    nbytes: int
    build_s: float
    built: str
    used: datetime


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints below `root`, which together take at most `limit` bytes (the newest one is always kept)."""

    root: Path
    limit: int

    @property
    def work(self) -> StagingArea:
        """Where builds are written aside; its `sweep` removes what killed ones left."""
        return StagingArea(self.root)

    def get(self, variant: Variant, progress: Progress) -> CachedCheckpoint:
        """The checkpoint of a variant, built if it is not there.

        Raises Unavailable where the disk is full or cannot be written, and what the method's `build` raises.
        """
        name = _name(variant)
        folder = self.root / name
        try:
            if (found := _read(folder)) is not None:
                return _used(folder, found)
            with self._lock(name, progress):
                if (found := _read(folder)) is not None:  # another process was building it
                    return _used(folder, found)
                kept = self._build(variant, folder, progress)
        except OSError as error:
            raise disk_error(error) from error
        shrink((it for it, _ in self._whole()), self.limit, name, self._remove_idle)
        return kept

    def found(self, variant: Variant) -> Path | None:
        """The folder of a variant that is kept already, left as it is; None where none is."""
        folder = self.root / _name(variant)
        return None if _read(folder) is None else folder

    def _build(self, variant: Variant, folder: Path, progress: Progress) -> CachedCheckpoint:
        self.work.sweep(mine=folder.name)
        begun = time.perf_counter()
        with atomic_folder(self.work.aside(folder.name), folder) as aside:
            check_space(variant, aside)
            method_of(variant.precision).build(variant, aside, progress)
            build_s = time.perf_counter() - begun
            models.check_unchanged(variant.model)  # else it would be found under the name of what was there before
            write_manifest(variant, aside, build_s)
        return CachedCheckpoint(folder, build_s, built_now=True)

    @contextmanager
    def _lock(self, name: str, progress: Progress) -> Iterator[None]:
        lock = self.work.lock(name)
        while True:
            try:
                lock.acquire(timeout=_POLL_S)
                break
            except Timeout:
                progress(0, 0, "another process quantizes the same")
        try:
            yield
        finally:
            lock.release()

    def entries(self) -> tuple[Entry, ...]:
        """All whole checkpoints, the most recently used one first."""
        found = []
        for it, manifest in sorted(self._whole(), key=lambda each: each[0].used, reverse=True):
            told = (manifest["model"], manifest["precision"], it.nbytes)
            used = datetime.fromtimestamp(it.used / 1e9, UTC)
            found.append(Entry(it.name, *told, manifest["build_s"], manifest["built"], used))
        return tuple(found)

    def clear(self, names: tuple[str, ...] | None = None) -> int:
        """Remove the named checkpoints, or all; what broken builds left goes too. Returns how many went."""
        going = [entry.name for entry in self.entries() if names is None or entry.name in names]
        for name in going:
            self.remove(name)
        if names is None:
            self.work.sweep()
        return len(going)

    def _remove_idle(self, name: str) -> bool:
        """Remove a checkpoint that no process is at work on; whether it went."""
        with self.work.idle(name) as idle:
            if idle:
                self.remove(name)
        return idle

    def _whole(self) -> Iterator[tuple[Item, dict]]:
        """All whole checkpoints with what they were made of."""
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            if (manifest := _read(folder)) is not None and (found := item(folder, folder / MANIFEST)) is not None:
                yield found, manifest

    def remove(self, name: str) -> None:
        """Remove one checkpoint. Renamed first: a folder that is being emptied must not be found as a whole one."""
        gone = self.work.aside(name)
        gone.parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def check_space(variant: Variant, folder: Path) -> None:
    """Raises Unavailable where a build would fill the disk: room for the result and for one copy of the original."""
    checkpoint = models.checkpoint(variant.model)
    planned = method_of(variant.precision).estimate(variant.precision, variant.placement, checkpoint)
    needed, free = planned + checkpoint.nbytes, shutil.disk_usage(folder).free
    if free < needed:
        raise Unavailable(
            f"Quantizing needs about {units.size(needed)} on the disk, and {units.size(free)} are free.",
            "Free some space (quantlab cache list shows what is kept), write to another disk, or set "
            "QUANTLAB_CACHE_FOLDER to one.",
        )


def write_manifest(variant: Variant, folder: Path, build_s: float) -> None:
    """Say in the folder what it was made of. Other programs ignore the file."""
    made = {
        "model": variant.model.name,
        "revision": variant.model.revision,
        "precision": variant.precision.name,
        "calibration": _calibration(variant),
        "versions": _versions(variant),
        "build_s": build_s,
        "built": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (folder / MANIFEST).write_text(json.dumps(made, indent=1))


def _read(folder: Path) -> dict | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        return manifest if manifest.keys() >= {"model", "precision", "build_s", "built"} else None
    except (OSError, ValueError, AttributeError):
        return None


def _used(folder: Path, manifest: dict) -> CachedCheckpoint:
    touch(folder / MANIFEST, folder.parent.glob(f"*/{MANIFEST}"))
    return CachedCheckpoint(folder, manifest["build_s"], built_now=False)


def identity(variant: Variant) -> dict:
    """All that changes the weights of a variant, as plain data: its model's files, its options, the libraries."""
    precision = {key: value for key, value in asdict(variant.precision).items() if key not in ("name", "summary")}
    return {
        "format": FORMAT,
        "model": variant.model.identity or models.identity(variant.model),
        "precision": precision,
        "calibration": _calibration(variant),
        "versions": _versions(variant),
    }


def _name(variant: Variant) -> str:
    """Readable in front, and behind it a digest of everything that changes what a build writes."""
    # Of a GGUF file by its own name, however it was called: its weights are taken out once.
    named = variant.model.origin or Path(variant.model.name)
    readable = re.sub(r"[^\w.-]+", "-", f"{named.name}--{variant.precision.name}")
    return f"{readable}--{models.digest(identity(variant))[:16]}"


def _calibration(variant: Variant) -> dict | None:
    text = variant.calibration
    return None if text is None else {"text": text.digest or "bundled", "samples": text.samples, "length": text.length}


def _versions(variant: Variant) -> dict[str, str]:
    found = {}
    for package in ("quantlab", *method_of(variant.precision).packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found

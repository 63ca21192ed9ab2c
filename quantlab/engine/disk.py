"""Quantized checkpoints kept on disk, so that what took minutes is done once.

A checkpoint is written aside and renamed when it is whole, so that neither a crash nor a full disk ever leaves half of
one where it would be found. A file lock lets one process build while others wait for it. The least recently used ones
go when all together exceed the limit.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from quantlab import models
from quantlab.errors import BadInput, Unavailable
from quantlab.methods import method_of
from quantlab.methods.worker import disk_error
from quantlab.records import Model, Progress, Variant

MANIFEST = "quantlab.json"
#: Changes when what a build writes for the same options does.
FORMAT = 1
#: Files up to this size are known by their content, so that a copied model is recognized; larger ones by size and date.
HASHED_BYTES = 64 * 10**6
_LOCKS, _ASIDE = ".locks", ".building"
_POLL_S = 0.1


@dataclass(frozen=True)
class Kept:
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

    def get(self, variant: Variant, progress: Progress) -> Kept:
        """The checkpoint of a variant, built if it is not there. `variant.placement` is resolved.

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
        self._shrink(keep=name)
        return kept

    def _build(self, variant: Variant, folder: Path, progress: Progress) -> Kept:
        aside_of_all = self.root / _ASIDE
        for left in aside_of_all.glob(f"{folder.name}.*"):  # whoever wrote these has ended: the lock is ours
            shutil.rmtree(left, ignore_errors=True)
        begun = time.perf_counter()
        with written_aside(aside_of_all / f"{folder.name}.{uuid4().hex}", folder) as aside:
            check_space(variant, aside)
            method_of(variant.precision).build(variant, aside, progress)
            build_s = time.perf_counter() - begun
            write_manifest(variant, aside, build_s)
        return Kept(folder, build_s, built_now=True)

    @contextmanager
    def _lock(self, name: str, progress: Progress) -> Iterator[None]:
        (self.root / _LOCKS).mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / _LOCKS / f"{name}.lock")
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
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            if (manifest := _read(folder)) is not None:
                used = datetime.fromtimestamp((folder / MANIFEST).stat().st_mtime, UTC)
                told = (manifest["model"], manifest["precision"], folder_bytes(folder))
                found.append(Entry(folder.name, *told, manifest["build_s"], manifest["built"], used))
        return tuple(sorted(found, key=lambda entry: entry.used, reverse=True))

    def clear(self, names: tuple[str, ...] | None = None) -> int:
        """Remove the named checkpoints, or all; what broken builds left goes too. Returns how many went."""
        going = [entry.name for entry in self.entries() if names is None or entry.name in names]
        for name in going:
            self.remove(name)
        if names is None:
            for left in (self.root / _ASIDE).glob("*"):
                if self._idle(left.name.rpartition(".")[0]):
                    shutil.rmtree(left, ignore_errors=True)
        return len(going)

    def _shrink(self, keep: str) -> None:
        held = self.entries()
        total = sum(entry.nbytes for entry in held)
        for entry in reversed(held):
            if total <= self.limit:
                return
            if entry.name != keep and self._idle(entry.name):
                self.remove(entry.name)
                total -= entry.nbytes

    def _idle(self, name: str) -> bool:
        """Whether nobody builds it at this moment."""
        lock = FileLock(self.root / _LOCKS / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError):
            return False
        lock.release()
        return True

    def remove(self, name: str) -> None:
        """Remove one checkpoint. Renamed first: a folder that is being emptied must not be found as a whole one."""
        gone = self.root / _ASIDE / f"{name}.{uuid4().hex}"
        gone.parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


@contextmanager
def written_aside(aside: Path, folder: Path) -> Iterator[Path]:
    """A new folder to write into, which becomes `folder` when the block ends well and vanishes when it does not.

    Raises Unavailable where the disk is full or cannot be written.
    """
    try:
        aside.mkdir(parents=True)
        yield aside
        for file in aside.rglob("*"):
            if file.is_file():
                file.chmod(0o644)  # safetensors writes files that only their owner may read
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(folder)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:  # another process was quicker
            raise BadInput(
                f"{folder} exists and is not empty.", "Name a new folder: nothing is written over."
            ) from None
        raise disk_error(error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_space(variant: Variant, folder: Path) -> None:
    """Raises Unavailable where a build would fill the disk: room for the result and for one copy of the original."""
    checkpoint = models.checkpoint(variant.model)
    planned = method_of(variant.precision).estimate(variant.precision, variant.placement, checkpoint)
    needed, free = planned + checkpoint.nbytes, shutil.disk_usage(folder).free
    if free < needed:
        raise Unavailable(
            f"Quantizing needs about {needed / 1e9:.2f} GB on the disk, and {free / 1e9:.2f} GB are free.",
            "Free some space (quantlab cache list shows what is kept), or set QUANTLAB_CACHE_FOLDER to another disk.",
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


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _read(folder: Path) -> dict | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        return manifest if manifest.keys() >= {"model", "precision", "build_s", "built"} else None
    except (OSError, ValueError, AttributeError):
        return None


def _used(folder: Path, manifest: dict) -> Kept:
    os.utime(folder / MANIFEST)
    return Kept(folder, manifest["build_s"], built_now=False)


def _name(variant: Variant) -> str:
    """Readable in front, and behind it a digest of everything that changes what a build writes."""
    precision = {key: value for key, value in asdict(variant.precision).items() if key not in ("name", "summary")}
    everything = {
        "format": FORMAT,
        "model": _identity(variant.model),
        "precision": precision,
        "calibration": _calibration(variant),
        "versions": _versions(variant),
    }
    digest = hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:16]
    readable = re.sub(r"[^\w.-]+", "-", f"{Path(variant.model.name).name}--{variant.precision.name}")
    return f"{readable}--{digest}"


def _identity(model: Model) -> object:
    if model.kind == "hub" and model.revision:
        return [model.name, model.revision]
    if model.folder is None:
        return [model.name]
    files = sorted(file for file in model.folder.iterdir() if file.suffix in (".safetensors", ".json", ".model"))
    return [[file.name, _fingerprint(file, file.stat().st_size, file.stat().st_mtime_ns)] for file in files]


@cache
def _fingerprint(file: Path, size: int, mtime_ns: int) -> str:
    if size > HASHED_BYTES:
        return f"{size}-{mtime_ns}"
    return hashlib.sha256(file.read_bytes()).hexdigest()


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

"""Where a model of the Hub lies in its library's cache, and what of it is there and whole.

The library writes there; this only looks, but for two things. A file that came and was not yet held to its checksum has
a note of its own below `.unchecked`, so that one whose check was ended in the middle is not believed. And what a
download left that was ended goes: nobody goes on from it.
"""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from quantlab.errors import ModelError
from quantlab.models import folder as folders
from quantlab.models.source import COMMIT
from quantlab.records import units


@dataclass(frozen=True)
class File:
    """A file as the Hub lists it. `blob` is its name in the cache: its sha256 where it is large, else Git's sha1."""

    name: str
    size: int
    blob: str
    sha256: str | None


@dataclass(frozen=True)
class Snapshot:
    """One revision of a repository and its place in the cache at `cache`, which is an absolute path."""

    repo: str
    commit: str
    cache: str

    @property
    def storage(self) -> Path:
        return Path(self.cache) / f"models--{self.repo.replace('/', '--')}"

    @property
    def folder(self) -> Path:
        return self.storage / "snapshots" / self.commit

    def note(self, name: str) -> Path:
        """Is there while a file that came is not yet known to be the right one."""
        return self.storage / ".unchecked" / self.commit / name

    def has(self, name: str) -> bool:
        """Whether a file is there, whole and as the Hub listed it."""
        return (self.folder / name).exists() and not self.note(name).is_file()

    def complete(self) -> bool:
        """Whether configuration, tokenizer and safetensors are all in the cache."""
        try:
            folders.check(self.folder, self.repo)
        except ModelError:
            return False
        return all(self.has(file.name) for file in self.folder.iterdir())

    def held(self) -> list[File]:
        """The files that are there; their checksums are not known."""
        files = [file for file in self.folder.rglob("*") if file.is_file()]
        return [File(it.relative_to(self.folder).as_posix(), it.stat().st_size, "", None) for it in files]

    def remains(self, file: File) -> list[Path]:
        """What downloads of a file have written so far: of others that are at work on it, or of such as were ended."""
        return list((self.storage / "blobs").glob(f"{file.blob}.*incomplete"))


def known(repo: str, revision: str | None, cache: str) -> Snapshot | None:
    """The snapshot that the cache holds, or once held, of a revision; None where it knows no such revision."""
    commit = revision or "main"
    if not COMMIT.fullmatch(commit):
        ref = Snapshot(repo, "", cache).storage / "refs" / commit
        commit = ref.read_text().strip() if ref.is_file() else ""
    return Snapshot(repo, commit, cache) if COMMIT.fullmatch(commit) else None


def remember(snapshot: Snapshot, revision: str | None) -> None:
    """Note which commit a branch or tag is, as the library does, so that it is found again without a network."""
    if revision != snapshot.commit:
        ref = snapshot.storage / "refs" / (revision or "main")
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(snapshot.commit)


def sweep(snapshot: Snapshot, files: Iterable[File]) -> None:
    """Remove what ended downloads left of `files`. Whoever is at work on one holds the library's lock of it."""
    for file in files:
        if left := snapshot.remains(file):
            lock = Path(snapshot.cache) / ".locks" / snapshot.storage.name / f"{file.blob}.lock"
            # NotImplementedError: a file system without locks, where nobody can tell who is at work.
            with suppress(Timeout, OSError, NotImplementedError), FileLock(lock, timeout=0, mode=0o664):
                for each in left:
                    each.unlink(missing_ok=True)


def check_space(snapshot: Snapshot, files: Iterable[File]) -> None:
    """Raise ModelError where the disk has not the room for those of `files` that must come."""
    blobs = snapshot.storage / "blobs"
    needed = sum(file.size for file in files if not (blobs / file.blob).exists())
    place = next((folder for folder in blobs.parents if folder.is_dir()), Path.cwd())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise ModelError(
            f"{snapshot.repo!r} needs {units.size(needed)} more on the disk, and {units.size(free)} are free.",
            "Make room, or set HF_HOME to a folder on a larger disk.",
        )

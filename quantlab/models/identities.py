"""Which state of its files a model is: what everything that is loaded, kept or measured of it goes by.

A name or a folder is not enough, for its files may be overwritten while this process runs. Small files are known by
their content, and large ones by size, time of the last change and a sample of their content, so that a look costs
milliseconds: content that was changed in a large file elsewhere than in the sample, with the old time put back, is
not noticed. A model of the Hub is known by its commit, a shape by its configuration.
"""

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from quantlab.errors import ModelError
from quantlab.models import shapes
from quantlab.models.gguf.files import part_files
from quantlab.records import Model

#: Files up to this size are known by all of their content, so that a copied model is recognized.
HASHED_BYTES = 64 * 10**6
#: Of a larger one these are read: so much of its head and of its tail, and small pieces evenly between.
_EDGE, _PIECE, _PIECES = 1 << 20, 1 << 12, 64
#: What a folder of weights is read from, beside the templates in a folder of their own.
_ENDINGS = (".safetensors", ".json", ".model", ".jinja", ".tiktoken")
_NAMES = ("merges.txt", "vocab.txt")
_TEMPLATES = "additional_chat_templates"
#: Clocks of file systems are coarse: a file changed as recently as this may change again under the same time.
_SETTLED_NS = 2 * 10**9


def identified(model: Model) -> Model:
    """The same model with the present state of its files in `identity`. Raises ModelError."""
    return replace(model, identity=identity(model))


def identity(model: Model) -> str:
    """A digest of the state of a model's files: 32 hexadecimal digits. Raises ModelError where they cannot be read."""
    return digest(_state(model))[:32]


def check_unchanged(model: Model) -> None:
    """Raises ModelError where the files are not those any more that `model` was when it was resolved."""
    if model.identity and identity(model) != model.identity:
        raise ModelError(
            f"The files of {model.name} were changed after this run began.",
            "Run it again once they are all written: every column must be of the same files.",
        )


def digest(data: object) -> str:
    """sha256 of plain data, the same for the same content in any order of keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()


def _state(model: Model) -> object:
    if model.kind == "hub" and model.revision:
        inside = model.gguf.relative_to(model.folder).as_posix() if model.gguf and model.folder else None
        return [model.name, model.revision, inside]
    if model.kind == "shape":
        return ["shape", shapes.SEED, shapes.canonical(model.name), shapes.shape_config(shapes.canonical(model.name))]
    if model.folder is None:
        return [model.name]
    try:
        if (file := model.gguf or model.origin) is not None:
            return [[part.name, _fingerprint(part)] for part in part_files(file)]
        return [[name, _fingerprint(file)] for name, file in sorted(_files(model.folder))]
    except OSError as error:
        raise ModelError(
            f"The files of {model.name!r} cannot be read: {error.strerror or error}.", "Check their names and rights."
        ) from error


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of every file that a model in `folder` may be read from. Only regular ones: a pipe never ends."""
    for file in folder.iterdir():
        if (file.suffix.lower() in _ENDINGS or file.name in _NAMES) and file.is_file():
            yield file.name, file
    if (folder / _TEMPLATES).is_dir():
        for file in (folder / _TEMPLATES).iterdir():
            if file.is_file():
                yield f"{_TEMPLATES}/{file.name}", file


def _fingerprint(file: Path) -> str:
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{file.name} is no regular file")
    # The time of the last change of any kind cannot be set back, so that the memory is never older than the file.
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if abs(time.time_ns() - found.st_ctime_ns) < _SETTLED_NS:
        return _read(str(file), found.st_size, found.st_mtime_ns)
    return _remembered(str(file), state)


@lru_cache(maxsize=4_096)
def _remembered(file: str, state: tuple[int, int, int, int, int]) -> str:
    return _read(file, state[2], state[3])


def _read(file: str, size: int, mtime_ns: int) -> str:
    # Without waiting, should it have become a pipe since it was looked at.
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{file} is no regular file")
        if size <= HASHED_BYTES:
            return hashlib.file_digest(opened, "sha256").hexdigest()
        found = hashlib.sha256(opened.read(_EDGE))
        for piece in range(1, _PIECES):
            opened.seek(size * piece // _PIECES)
            found.update(opened.read(_PIECE))
        opened.seek(max(0, size - _EDGE))
        found.update(opened.read(_EDGE))
    return f"{size}-{mtime_ns}-{found.hexdigest()}"

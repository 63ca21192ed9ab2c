"""A GGUF file from elsewhere is loaded in a process of its own first: llama.cpp asserts where it should refuse.

An assertion ends the whole process, the page of all visitors included, and what it may trip over is not all known: the
header is held against reason before (`models.gguf_values`), and what passes is tried where it costs one column.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from quantlab.errors import ModelError, OutOfMemory
from quantlab.records import Model, Progress, ResolvedPlacement, units
from quantlab.runtime import worker

#: Letters, digits, signs and other scripts: the vocabulary is part of the file too.
_PROBE = "The year 2024:\n\tüber-naïve 東京 🙂 x_1 += y[0];"
_ROOM = 16
#: Else ggml starts a debugger over an assertion, to print where it was.
_ENVIRONMENT = {"GGML_NO_BACKTRACE": "1"}
#: Files that were tried since this process began, each by its state and the device.
_tried: set[tuple[str, int, int, int, str]] = set()
#: Texts that were tokenized since this process began, by the state of the file.
_tokenized: dict[tuple[str, int, int, str], tuple[int, ...]] = {}


def try_first(file: Path, model: Model, placement: ResolvedPlacement, progress: Progress) -> tuple[str, ...]:
    """Load the file and read a few tokens with it, in a process of its own, the first time that it is met as it is.

    Returns notes: how long that took, for it is part of the load, or that it could not be tried. `placement` is
    resolved; `progress` may raise `Stopped`, which ends the trial. Raises ModelError for a file that ends the process,
    and whatever a load raises.
    """
    if (reason := worker.unavailable()) is not None:
        return (f"the file was not tried in a process of its own before it was loaded here, which {reason}",)
    begun, state = time.perf_counter(), file.stat()
    known = (str(file.resolve()), state.st_size, state.st_mtime_ns, state.st_ino, placement.device)
    if known in _tried:
        return ()
    where = {"device": placement.device, "dtype": placement.compute_dtype}
    arguments = {"file": str(file.absolute()), "name": model.name, **where}

    def report_progress(done: int, total: int, what: str) -> None:
        progress(done, total, f"trying the file in a process of its own: {what}")

    try:
        with _over(f"{file.name}, tried in a process of its own"):
            worker.run("quantlab.methods.gguf.trying:attempt", arguments, report_progress, _ENVIRONMENT)
    except OutOfMemory as error:
        raise OutOfMemory(
            f"{file.name} does not fit into memory.", "Choose fewer bits, a smaller model, or free some memory."
        ) from error
    _tried.add(known)
    took = units.seconds(time.perf_counter() - begun)
    return (f"the file was tried in a process of its own first, which is {took} of the load",)


def tokens(file: Path, text: str, progress: Progress) -> tuple[int, ...]:
    """The ids of a text by the file's own tokenizer, as llama.cpp reads it; no weights are loaded.

    `progress` may raise `Stopped`. Raises ModelError for a file that llama.cpp cannot read or breaks off over.
    """
    state = file.stat()
    known = (str(file.absolute()), state.st_size, state.st_mtime_ns, text)
    if known not in _tokenized:
        with TemporaryDirectory(prefix="quantlab-") as folder:
            out = Path(folder, "tokens.json")
            arguments = {"file": str(file.absolute()), "text": text, "out": str(out)}
            with _over(f"the tokenizer of {file.name}"):
                worker.run("quantlab.methods.gguf.trying:tokenize", arguments, progress, _ENVIRONMENT)
            _tokenized[known] = tuple(json.loads(out.read_text()))
    return _tokenized[known]


def tokenize(progress: Progress, file: str, text: str, out: str) -> None:
    """In the worker: write the ids of the text into the file `out`."""
    from quantlab.methods.gguf import library

    Path(out).write_text(json.dumps(library.tokens(Path(file), text)))


@contextmanager
def _over(what: str) -> Iterator[None]:
    """A worker that llama.cpp ended, as a ModelError."""
    try:
        yield
    except RuntimeError as error:
        raise ModelError(
            f"llama.cpp broke off over {what} ({_last(error)}).",
            "The file is damaged or was made to do so: download it again, or take another one.",
        ) from error


def _last(error: RuntimeError) -> str:
    text = str(error).partition(" ended with ")[2] or str(error)
    return text if len(text) <= 200 else f"{text[:197]}..."


def attempt(progress: Progress, file: str, name: str, device: str, dtype: str) -> None:
    """In the worker: what a comparison does with the file, with a few tokens."""
    from quantlab.methods.gguf.loading import load_file

    loaded = load_file(
        Path(file), Model(name, "folder", None, gguf=Path(file)), ResolvedPlacement(device, dtype), progress
    )
    ids = [i for i in loaded.tokenize(_PROBE) if 0 <= i < loaded.vocabulary_size][: _ROOM // 2] or [0]
    room = min(_ROOM, loaded.context_length)
    session = loaded.start(room)
    session.forward(ids[: max(1, room // 2)])
    if session.length < room:
        session.forward([ids[0]])
    loaded.close()

"""llama.cpp itself: imported silent, its log kept instead of printed, its errors told in words."""

import ctypes
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

from quantlab.errors import ModelError, OutOfMemory
from quantlab.models.gguf.header import GgufHeader
from quantlab.records import Progress, ResolvedPlacement

#: What llama.cpp complained of since it was last asked; its reasons for a failure stand nowhere else.
_said: deque[str] = deque(maxlen=60)
_ERROR = 4
#: What it puts before the reason itself.
_PREFIX = re.compile(r"^.*(error loading model|failed to quantize): ")
_listeners: list[Callable[[str], None]] = []
_OUT_OF_MEMORY = re.compile(r"unable to allocate|failed to allocate|out of memory|cudaMalloc failed", re.IGNORECASE)
_REPACKED = re.compile(r"repack: repack tensor (\S+) with")
_INSTRUCTIONS = ("AMX_INT8", "AVX512_BF16", "AVX512_VNNI", "AVX512", "AVX_VNNI", "AVX2", "AVX", "SVE", "NEON")
_STEPS = 100


@cache
def lib() -> ModuleType:
    """llama-cpp-python's functions of llama.h, imported at the first call."""
    import llama_cpp.llama_cpp as found

    found.llama_log_set(_callback(), ctypes.c_void_p(0))
    found.llama_backend_init()
    return found


@cache
def _callback() -> object:
    """Kept, because llama.cpp holds no more than its address."""
    import llama_cpp.llama_cpp as found

    return found.llama_log_callback(_log)


def quiet() -> None:
    """Keep llama.cpp's log. The import of its package sets a logger that prints errors to the terminal instead."""
    lib().llama_log_set(_callback(), ctypes.c_void_p(0))


def _log(level: int, text: bytes, _data: object) -> None:
    line = (text or b"").decode("utf-8", errors="replace")
    if level == _ERROR and line.strip(" .=\n"):
        _said.append(line.strip())
    for listener in _listeners:
        listener(line)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Hand every line that llama.cpp logs to `listener`, which must not raise. All threads' lines come."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def forget() -> None:
    """Before a call that may fail: what was said until now is not its reason."""
    _said.clear()


def reason() -> str:
    """The first thing that llama.cpp complained of since `forget`; what it says later only repeats that it failed."""
    return _PREFIX.sub("", _said[0]) if _said else "no reason was given"


def failure(what: str, advice: str) -> ModelError | OutOfMemory:
    """The error for what llama.cpp has just refused."""
    if any(_OUT_OF_MEMORY.search(line) for line in _said):
        return OutOfMemory(f"{what}: the memory does not suffice.", "Choose fewer bits, or free some memory.")
    return ModelError(f"{what}: {reason()}.", advice)


def load(
    file: Path, header: GgufHeader, placement: ResolvedPlacement, progress: Progress
) -> tuple[int, frozenset[str]]:
    """llama.cpp's handle of a model, and the tensors that it arranged anew in memory of its own for a kernel.

    Raises ModelError, OutOfMemory, or what `progress` raises.
    """
    llama = lib()
    params = llama.llama_model_default_params()
    params.n_gpu_layers = 0
    if placement.device.startswith("cuda"):
        # Any number above the layers means all of them; 0 is a split over no more than one device.
        params.n_gpu_layers, params.split_mode = 2**20, 0
        params.main_gpu = int(placement.device.partition(":")[2] or 0)
    raised: list[BaseException] = []

    @llama.llama_progress_callback
    def follow(share: float, _data: object) -> bool:
        try:
            progress(round(share * _STEPS), _STEPS, "weights")
        except BaseException as error:  # carried over C code, which would lose it
            raised.append(error)
        return not raised

    params.progress_callback = follow
    lines: list[str] = []
    forget()
    with listening(lines.append):
        handle = llama.llama_model_load_from_file(str(file).encode(), params)
    if raised:
        if handle:
            llama.llama_model_free(handle)
        raise raised[0]
    if not handle:
        raise failure(
            f"{file.name} ({header.architecture}) cannot be loaded", "Try a newer llama.cpp, or another file."
        )
    return handle, frozenset(found[1] for line in lines if (found := _REPACKED.search(line)))


def tokens(file: Path, text: str) -> list[int]:
    """The ids of a text by the tokenizer of a file whose weights are left where they are. Raises ModelError."""
    llama = lib()
    params = llama.llama_model_default_params()
    params.vocab_only = True
    forget()
    handle = llama.llama_model_load_from_file(str(file).encode(), params)
    if not handle:
        raise failure(f"{file.name} cannot be read", "Try a newer llama.cpp, or another file.")
    found = tokenized(llama.llama_model_get_vocab(handle), text)
    llama.llama_model_free(handle)
    return list(found)


def tokenized(vocabulary: int, text: str) -> tuple[int, ...]:
    """The ids of a text, special tokens in it read as such, without a BOS in front. `vocabulary` is llama.cpp's."""
    llama, encoded = lib(), text.encode()
    room = len(encoded) + 8
    while True:
        ids = (llama.llama_token * room)()
        count = llama.llama_tokenize(vocabulary, encoded, len(encoded), ids, room, False, True)
        if count >= 0:
            return tuple(ids[:count])
        room = -count


def kernel(device: str) -> str:
    """What multiplies: `llama.cpp (CPU, AVX2)`."""
    if device.startswith("cuda"):
        return "llama.cpp (CUDA)"
    told = set(re.findall(r"(\w+) = 1", lib().llama_print_system_info().decode()))
    best = next((it for it in _INSTRUCTIONS if it in told), None)
    return f"llama.cpp (CPU, {best})" if best else "llama.cpp (CPU)"

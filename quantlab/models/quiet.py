"""Keep what libraries tell the terminal from it, and turn their progress bars into `Progress`.

What is changed for that is global to the process, and several threads may be inside at once: the first one in changes
it, the last one out puts it back, and each thread's bars go to that thread's own `Progress`.
"""

import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from quantlab.errors import is_panic
from quantlab.records import Progress, silent

#: Loggers of libraries that tell what is no fault. transformers imports torchao where it is installed, and that says
#: which of its kernels do not fit here. bitsandbytes tells at its import that it has no package `kernels`, and on a CPU
#: of every product that its inputs are cast.
CHATTY = ("torchao", "torch.utils._pytree", "bitsandbytes")

_importing = threading.Lock()
_mine = threading.local()


class Shared:
    """A change to something that the whole process has, for as long as anybody is inside.

    `change` makes it and gives what puts it back. Only the first one in calls it, and the last one out undoes it: in
    whatever order they leave, what was there before comes back.
    """

    def __init__(self, change: Callable[[], Callable[[], None]]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._inside = 0
        self._undo: Callable[[], None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._undo = self._change()
            self._inside += 1

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._undo is not None:
                self._undo()


class _Bar:
    """Stands in for tqdm: tells `progress` of every tensor, which may raise `Stopped` to end the load."""

    def __init__(self, iterable: Iterable[Any] | None, progress: Progress, total: int | None) -> None:
        self._items = list(iterable) if iterable is not None else None
        self._progress = progress
        self._total = total if total is not None else len(self._items or ())

    def __iter__(self) -> Iterator[Any]:
        for done, item in enumerate(self._items or ()):
            name = item[0] if isinstance(item, tuple) and isinstance(item[0], str) else ""
            self._progress(done, self._total, name)
            yield item
        self._progress(self._total, self._total, "")

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_args, **_kwargs: None


def _bar(_factory: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Bar:
    iterable = args[0] if args else kwargs.get("iterable")
    return _Bar(iterable, getattr(_mine, "progress", silent), kwargs.get("total"))


def hush() -> None:
    """Before transformers or bitsandbytes is imported for the first time: quiet, and without kernels from a hub.

    transformers and bitsandbytes fetch compiled code from a hub where a package `kernels` is installed, and a
    config.json can ask for some. Code from elsewhere is never run here, so that package is out of their reach.
    """
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ["USE_HUB_KERNELS"] = "NO"
    modules: dict[str, Any] = sys.modules  # None keeps from an import, which their type does not know
    modules.setdefault("kernels", None)


def import_transformers() -> None:
    """Import it and what is used of it first, one thread at a time.

    Its names come in when they are asked for, and of two threads that ask at the same time one may find half of them.
    """
    with _importing:
        hush()
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: F401 - imported ahead of time


@contextmanager
def watching(progress: Progress) -> Iterator[None]:
    """Tell `progress` instead of transformers' bars, and keep its notes from the terminal."""
    import_transformers()
    outer = getattr(_mine, "progress", silent)
    _mine.progress = progress
    try:
        with _QUIET_TRANSFORMERS:
            yield
    finally:
        _mine.progress = outer


def _quiet_transformers() -> Callable[[], None]:
    from transformers.utils import logging as notes

    verbosity, hook = notes.get_verbosity(), notes.set_tqdm_hook(_bar)
    notes.set_verbosity_error()

    def undo() -> None:
        notes.set_verbosity(verbosity)
        notes.set_tqdm_hook(hook)

    return undo


def _no_output() -> Callable[[], None]:
    shown, sys.stdout = sys.stdout, StringIO()

    def undo() -> None:
        sys.stdout = shown

    return undo


def _no_bars() -> Callable[[], None]:
    from tqdm import tqdm

    # As it stands in the class: others put things there too that make a new function at each look.
    own, shown = vars(tqdm)["__init__"], tqdm.__init__

    def hidden(bar: object, *args: object, **kwargs: object) -> None:
        shown(bar, *args, **kwargs | {"disable": True})

    def undo() -> None:
        tqdm.__init__ = own

    tqdm.__init__ = hidden
    return undo


def _no_warnings() -> Callable[[], None]:
    filters: Any = warnings.filters  # a list, of which its type only says that it can be read
    before = filters[:]
    warnings.simplefilter("ignore")

    def undo() -> None:
        filters[:] = before

    return undo


def _hold_back() -> Callable[[], None]:
    """Keep what is written to standard error's descriptor, and show it afterwards unless a panic was among it."""
    try:
        held = tempfile.TemporaryFile()  # noqa: SIM115 - closed by what puts all back
        shown = os.dup(2)
    except OSError:  # it is closed, or there is no place to keep anything
        return lambda: None
    os.dup2(held.fileno(), 2)

    def undo() -> None:
        os.dup2(shown, 2)
        os.close(shown)
        with held:
            held.seek(0)
            if (text := held.read()) and not _panicked.is_set():
                os.write(2, text)
        _panicked.clear()

    return undo


def _quiet_hub() -> Callable[[], None]:
    from huggingface_hub.utils import logging as notes

    verbosity = notes.get_verbosity()
    notes.set_verbosity(logging.CRITICAL)

    def undo() -> None:
        notes.set_verbosity(verbosity)

    return undo


@contextmanager
def panics_unheard(holding: bool = True) -> Iterator[None]:
    """For calls into tokenizers, which is written in Rust: where that breaks off, it writes a page to the terminal.

    The error is raised here as it came; see `errors.is_panic`. `holding`: such a page is to be expected.
    """
    if not holding:
        yield
        return
    with _STANDARD_ERROR:
        try:
            yield
        except BaseException as error:
            if is_panic(error):
                _panicked.set()
            raise


_panicked = threading.Event()
_STANDARD_ERROR = Shared(_hold_back)
_QUIET_TRANSFORMERS = Shared(_quiet_transformers)
#: What huggingface_hub warns of, and what the Hub has it say.
QUIET_HUB = Shared(_quiet_hub)
#: What libraries print, the bars of tqdm's own class, and Python's warnings.
NO_OUTPUT, NO_BARS, NO_WARNINGS = Shared(_no_output), Shared(_no_bars), Shared(_no_warnings)

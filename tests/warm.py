"""Workers that begin with torch and transformers imported: those of `quantlab.runtime.worker`, forked from one process.

Each worker of its own imports them anew, nine seconds or so, and that is most of what a small build or training takes.
gptqmodel is not imported ahead: it starts threads, which no fork takes along. A test that is about the process has the
marker `cold`.
"""

import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from functools import cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from quantlab.records import Progress
from quantlab.runtime import worker

#: Whose workers: what they read of the environment, they read after they were forked.
PACKAGES = ("quantlab.methods.gptq.", "quantlab.finetune.")
_AHEAD = ["torch", "transformers.modeling_utils", "transformers.models.llama.modeling_llama", "datasets", "accelerate"]
_cold = worker.run


@cache
def _context() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload(_AHEAD)
    return context


def run(
    task: str,
    arguments: Mapping[str, Any],
    progress: Progress,
    environment: Mapping[str, str] | None = None,
    doing: str = "quantizing",
) -> None:
    """As `worker.run`, in its own words: only where the process comes from is another."""
    if not task.startswith(PACKAGES):
        return _cold(task, arguments, progress, environment, doing)
    told, tells = _context().Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="quantlab-") as standing_in:
        around = os.environ | dict(environment or {})
        work = (tells, standing_in, task, dict(arguments), dict(around))
        process: BaseProcess = _context().Process(target=_work, args=work, daemon=True)
        process.start()
        tells.close()
        messages: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        pipe = os.fdopen(os.dup(told.fileno()))
        reader = threading.Thread(target=worker._read_messages, args=(pipe, messages), daemon=True)
        reader.start()
        try:
            error = worker._follow(messages, progress)
            if error is None:
                process.join()
        finally:
            _end(process)
            reader.join()
            pipe.close()
            told.close()
        output = Path(standing_in, _OUTPUT).read_text(errors="replace").splitlines(keepends=True)
    if error is not None:
        raise error
    if process.exitcode:
        worker._explain(task, process.exitcode, output, doing)


def _end(process: BaseProcess) -> None:
    """The process with whatever it started: it leads a group of its own, but for its very beginning."""
    if process.is_alive() and process.pid is not None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.kill()
    process.join()


_OUTPUT = "output"


def _work(tells: Connection, standing_in: str, task: str, arguments: dict[str, Any], around: dict[str, str]) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(around)
    tempfile.tempdir = None  # may be known from before, and the environment names another one
    os.chdir(standing_in)
    said = os.open(_OUTPUT, os.O_RDWR | os.O_CREAT)
    for number in (1, 2):
        os.dup2(said, number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    code = 1
    try:
        code = worker._call(task, arguments, worker._Teller(os.fdopen(tells.fileno(), "w")))
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    # Threads of the library may wait for ever.
    os._exit(code)

"""Long work of a foreign library in a process of its own.

What quantizes or downloads for minutes must be stoppable in the middle, must keep its banners from the terminal, and
must not take the page with it when the system ends it for memory or a kernel aborts. A process gives all three.

`python -m quantlab.runtime.worker MODULE:FUNCTION` reads keyword arguments as a line of JSON from standard input and
calls `FUNCTION(progress, **arguments)`; it tells progress and errors as lines of JSON through the pipe in `PIPE`.
Standard input stays open for as long as the parent lives: its end, also where the parent was killed, ends the worker.
"""

import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from typing import IO, Any

from quantlab import errors
from quantlab.errors import OutOfMemory, QuantlabError
from quantlab.records import Progress
from quantlab.runtime.disk import disk_error, is_disk_error, no_memory

PIPE = "QUANTLAB_WORKER_PIPE"
#: How often the parent asks its progress whether to go on.
_POLL_S = 0.1
#: Lines of the child's output that go to the log when it breaks.
_TAIL = 40
#: Progress below this share gives no honest forecast.
_FORECAST_FROM = 0.05
_ROOT = Path(__file__).resolve().parents[2]
log = logging.getLogger(__name__)


def unavailable() -> str | None:
    """Why no worker can be had on this system, in words that go on from "it ..."; None where one can."""
    if os.name == "posix":
        return None
    return (
        "needs Linux or macOS, because it quantizes in a process that is handed a pipe and ended with its children: "
        "choose nf4, int8 or rtn-4, or a checkpoint that somebody published"
    )


def run(
    task: str,
    arguments: Mapping[str, Any],
    progress: Progress,
    environment: Mapping[str, str] | None = None,
    doing: str = "quantizing",
) -> None:
    """Call `task` ("module:function") in a process of its own; `arguments` must be plain JSON, paths in them whole.

    `progress` is asked ten times a second and may raise `Stopped`, which ends the process. Raises what the task
    raised, if that is a QuantlabError, OutOfMemory where the system killed it, RuntimeError for a defect. `doing` is
    the name of the work in such an error.
    """
    read_end, write_end = os.pipe()
    output: list[str] = []
    # A folder of its own to stand in: some libraries leave logs wherever they are started.
    with TemporaryDirectory(prefix="quantlab-") as standing_in, os.fdopen(read_end) as told:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "quantlab.runtime.worker", task],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                pass_fds=(write_end,),
                start_new_session=True,
                cwd=standing_in,
                env=os.environ | _import_path() | dict(environment or {}) | {PIPE: str(write_end)},
            )
        finally:
            os.close(write_end)
        messages: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        readers = [
            threading.Thread(target=_read_messages, args=(told, messages), daemon=True),
            threading.Thread(target=_read_output, args=(process, output), daemon=True),
        ]
        for reader in readers:
            reader.start()
        try:
            _send(process, arguments)
            error = _follow(messages, progress)
            # One that told its error is done, whatever its threads still wait for.
            code = process.wait() if error is None else None
        finally:
            _end(process)
            for reader in readers:
                reader.join()
            with suppress(BrokenPipeError):
                _pipe(process.stdin).close()
    if error is not None:
        raise error
    if code:
        _explain(task, code, output, doing)


def _import_path() -> dict[str, str]:
    """The child finds this package wherever it was started from."""
    known = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{_ROOT}{os.pathsep}{known}" if known else str(_ROOT)}


def _pipe(end: IO[str] | None) -> IO[str]:
    """An end of the pipes that every child is started with."""
    if end is None:
        raise RuntimeError("the child was started without a pipe")
    return end


def _send(process: subprocess.Popen[str], arguments: Mapping[str, Any]) -> None:
    with suppress(BrokenPipeError):  # it ended before it read them; its exit code tells why
        _pipe(process.stdin).write(json.dumps(dict(arguments)) + "\n")
        _pipe(process.stdin).flush()


def _read_messages(told: IO[str], messages: SimpleQueue[dict[str, Any] | None]) -> None:
    for line in told:
        messages.put(json.loads(line))
    messages.put(None)


def _read_output(process: subprocess.Popen[str], output: list[str]) -> None:
    for line in _pipe(process.stdout):
        output.append(line)
        del output[:-_TAIL]


def _follow(messages: SimpleQueue[dict[str, Any] | None], progress: Progress) -> QuantlabError | None:
    """Pass progress on until the child closes its pipe; the error that it told, if any."""
    last = (0, 0, "starting")
    begun: float | None = None
    while True:
        try:
            message = messages.get(timeout=_POLL_S)
        except Empty:
            progress(*last)
            continue
        if message is None:
            return None
        if "error" in message:
            return _rebuilt(**message["error"])
        done, total, what = message["progress"]
        # What comes before (imports, reading) has another pace and would spoil the forecast.
        now = time.monotonic()
        begun = begun if begun is not None else now if total else None
        last = (done, total, what + ("" if begun is None else _time_left(done, total, now - begun)))
        progress(*last)


def _time_left(done: int, total: int, passed: float) -> str:
    if not total or not _FORECAST_FROM <= done / total < 1:
        return ""
    left = passed * (total - done) / done
    return f", about {left:.0f} s left" if left < 100 else f", about {left / 60:.0f} min left"


def _rebuilt(kind: str, what: str, advice: str) -> QuantlabError:
    known = getattr(errors, kind, QuantlabError)
    return known() if known is errors.Stopped else known(what, advice)


def _end(process: subprocess.Popen) -> None:
    """End the process and whatever it started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _explain(task: str, code: int, output: list[str], doing: str) -> None:
    log.error("%s ended with %s:\n%s", task, code, "".join(output))
    if code == -signal.SIGKILL:
        raise OutOfMemory(
            f"The system ended the {doing}, most likely for want of memory.",
            "Choose a smaller model or fewer calibration samples, or free some memory.",
        )
    raise RuntimeError(f"{task} ended with {code}: {output[-1].strip() if output else 'no output'}")


class _Teller:
    """The child's side of the pipe; its `progress` is what the task is given."""

    def __init__(self, pipe: IO[str]) -> None:
        self._pipe = pipe

    def progress(self, done: int, total: int, what: str) -> None:
        self._tell({"progress": [done, total, what]})

    def error(self, error: QuantlabError) -> None:
        kind = next(k.__name__ for k in type(error).__mro__ if hasattr(errors, k.__name__))
        self._tell({"error": {"kind": kind, "what": error.what, "advice": error.advice}})

    def _tell(self, message: dict[str, Any]) -> None:
        self._pipe.write(json.dumps(message) + "\n")
        self._pipe.flush()


def _main(task: str) -> int:
    _first_to_go()
    teller = _Teller(os.fdopen(int(os.environ.pop(PIPE)), "w"))
    arguments = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return _call(task, arguments, teller)


def _call(task: str, arguments: Mapping[str, Any], teller: _Teller) -> int:
    """What the task raises is told, where it is for users; the exit code."""
    module, _, function = task.partition(":")
    try:
        getattr(importlib.import_module(module), function)(teller.progress, **arguments)
    except QuantlabError as error:
        teller.error(error)
        return 1
    except MemoryError:
        teller.error(no_memory())
        return 1
    except Exception as error:
        if not is_disk_error(error):
            raise
        teller.error(disk_error(error))
        return 1
    return 0


def _first_to_go() -> None:
    """Where the system ends a process for want of memory, it is this one, and not the page that waits for it."""
    with suppress(OSError):  # no Linux, or a container without it
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end_with_parent() -> None:
    # Not through sys.stdin, whose lock a thread that waits for ever would hold when Python ends.
    os.read(sys.stdin.fileno(), 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(_main(sys.argv[1]))

"""One spoiled model, run as a user would: in a process of its own, so that whatever it does is seen."""

import faulthandler
import io
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.mutations import spoil
from tests.tiny import letters, write

FAMILIES = ("llama", "qwen2-alternating", "gemma2-alternating", "gpt2", "phi3")
PRECISIONS = ("fp32", "nf4", "rtn-4", "int8")
#: What a trial may take, in seconds, and in memory beside what the process has already.
LIMIT_S, MEMORY = 30, 6 << 30
TEMPLATE = "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
OUTCOMES = ("ran", "refused", "a defect", "traceback", "over the limit", "process ended")


@dataclass(frozen=True)
class Trial:
    """What was done to a model, and what came of it: one of `OUTCOMES`, with what was said."""

    seed: int
    family: str
    done: str
    outcome: str
    said: str
    seconds: float


def bases(folder: Path) -> dict[str, Path]:
    """A good model of each family."""
    for family in FAMILIES:
        tokenizer = letters()
        tokenizer.chat_template = TEMPLATE
        write(folder / family, family, tokenizer)
    return {family: folder / family for family in FAMILIES}


def trial(seed: int, good: dict[str, Path]) -> Trial:
    """Spoil a copy of a model and compare two precisions of it, in a child process."""
    draw = random.Random(seed)
    family = draw.choice(list(good))
    with TemporaryDirectory(prefix="fuzz-") as place:
        folder = Path(place, "model")
        shutil.copytree(good[family], folder)
        done = spoil(folder, draw)
        asked = [draw.choice(PRECISIONS)]
        begun = time.monotonic()
        outcome, said = _in_child(folder, asked, draw.random() < 0.5)
    return Trial(seed, family, f"{done} [{', '.join(asked)}]", outcome, said, time.monotonic() - begun)


def _in_child(folder: Path, asked: list[str], raw: bool) -> tuple[str, str]:
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read_end)
        with suppress(BaseException), os.fdopen(write_end, "w") as told:
            _limit()
            told.write(json.dumps(_run(folder, asked, raw)))
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as told:
        text = told.read()
    _, status = os.waitpid(pid, 0)
    if text:
        return tuple(json.loads(text))
    code = os.waitstatus_to_exitcode(status)
    return ("over the limit", f"{LIMIT_S} s") if code == -signal.SIGALRM else ("process ended", f"exit code {code}")


def _limit() -> None:
    import resource

    faulthandler.disable()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LIMIT_S)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def _run(folder: Path, asked: list[str], raw: bool) -> tuple[str, str]:
    from quantlab import models
    from quantlab.errors import QuantlabError
    from quantlab.records import Placement, Settings
    from quantlab.records.events import Done
    from quantlab.runs import estimates
    from quantlab.runs.compare import compare
    from quantlab.settings import AppSettings

    placement = Placement("cpu", "float32")
    settings = Settings(raw=raw, placement=placement, max_new_tokens=3)
    refused = ""
    with redirect_stderr(io.StringIO()):
        try:
            with suppress(QuantlabError):  # what the page asks first
                estimates.estimates(models.peek(str(folder), AppSettings()), placement)
            for event in compare(str(folder), asked, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa! hello", settings):
                if isinstance(event, Done):
                    errors = [run.error for run in event.comparison.runs if run.error]
                    refused = errors[0] if errors else ""
                    if any("defect" in run.advice for run in event.comparison.runs):
                        return "a defect", refused
        except QuantlabError as error:
            refused = str(error)
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            return (
                "traceback",
                f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})",
            )
    return ("refused", refused) if refused else ("ran", "")


def prepare() -> None:
    """Import before the first child what all of them need. Nothing may be computed: threads do not survive a fork."""
    import torch

    torch.set_num_threads(1)
    import accelerate  # noqa: F401
    import bitsandbytes  # noqa: F401

    from quantlab.methods import METHODS
    from quantlab.models.quiet import import_transformers
    from quantlab.runs import compare as comparison  # noqa: F401

    import_transformers()
    for name in ("none", "rtn", "bitsandbytes"):
        if name in METHODS:
            METHODS[name].prepare()
    sys.stderr.flush()

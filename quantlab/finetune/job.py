"""The job: what was asked, checked; a process that trains, followed through the file of its events."""

import json
import threading
from collections.abc import Generator, Iterator
from dataclasses import asdict, replace
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any, get_args

from quantlab import models
from quantlab.errors import BadInput, Diverged, OutOfMemory, QuantlabError, Stopped, Unavailable, unknown
from quantlab.finetune import data, sets
from quantlab.finetune import folder as folders
from quantlab.finetune.folder import EVENTS
from quantlab.finetune.memory import refuse_too_large, what_to_lower
from quantlab.methods import method_of, precision, variant_of
from quantlab.records import Calibration, Model, Placement, Progress, ResolvedPlacement
from quantlab.records.finetuning import (
    FinetuneSettings,
    InitLoraWeights,
    Trained,
    TrainingData,
    TrainingEvent,
    TrainingMethod,
    TrainingPreparing,
    TrainingStarted,
    TrainingStep,
)
from quantlab.runtime import placement as placements
from quantlab.runtime import worker
from quantlab.runtime.background import forward, in_background
from quantlab.runtime.disk import disk_error
from quantlab.settings import app_settings

#: What weights can be taken out of, changed and put back.
READ = ("fp32", "bf16", "fp16", "int8", "int8-plain", "nf4", "nf4-dq", "fp4", "fp4-dq")
#: What gradients flow through. Others pack their weights for products without one.
BASES = (*READ, "gptq-8", "gptq-4", "gptq-3")
#: Bases of 4 bits of which is known what they lost; and those whose weights can be changed before they are frozen.
LOFTQ, PISSA = ("nf4", "nf4-dq", "fp4", "fp4-dq"), ("fp32", "bf16", "fp16")
#: What all weights can be trained in: each is a number of its own there, with room for small steps.
WHOLE = ("fp32", "bf16")
_TASK = "quantlab.finetune.training:train"
_MOST = {"rank": 1_024, "alpha": 65_536, "steps": 100_000, "batch": 1_024, "context": 131_072, "seed": 2**32 - 1}


def unavailable(asked: FinetuneSettings) -> str | None:
    """Why it cannot be trained here, in words that go on from "it ..."; None where it can."""
    if asked.method == "lora" and find_spec("peft") is None:
        return "needs the package peft: pip install peft"
    return worker.unavailable()


def finetune(
    model: str,
    file: str | Path,
    out: str | Path,
    settings: FinetuneSettings | None = None,
    placement: Placement | None = None,
    *,
    stop: threading.Event | None = None,
) -> Generator[TrainingEvent, None, None]:
    """Train adapters for `model` on the rows of `file`, and write them into the folder `out`, as peft does; or all of
    its weights, written as an ordinary checkpoint.

    `file` may be the name of a bundled set, which brings settings of its own where none are given.

    Yields `TrainingPreparing` until the training begins, `TrainingStarted`, a `TrainingStep` for each, and at last
    `Trained`. Setting `stop`, or closing the generator, ends the training and keeps what the last checkpoint holds.
    Where `out` holds a training of the same model, rows and settings that was broken off, it goes on from there, with
    the same random numbers.

    Raises BadInput, ModelError, Unavailable or OutOfMemory, which says what to lower.
    """
    asked, stop = settings or sets.settings_of(file), stop or threading.Event()
    check(asked)
    if why := unavailable(asked):
        raise Unavailable(f"Fine-tuning {why}.")
    path = sets.file_of(file)
    digest = data.digest(path)
    data.rows(path, digest)  # wrong rows are told before a model is fetched, or a folder made
    folder = folders.made(out)
    where = placements.resolve(placement or Placement("auto"))
    getting = in_background(lambda progress: models.resolve_main(model, app_settings(), progress), stop)
    found = yield from forward(getting, lambda step: TrainingPreparing(*step))
    _refuse(found, asked, where)
    try:
        with folders.only_one(folder):
            folders.begun(folder, found, path, digest, asked)
            yield from _followed(found, path, digest, folder, asked, where, stop)
    except OSError as error:
        raise disk_error(error) from error


def check(asked: FinetuneSettings) -> None:
    """Raises BadInput for settings that nothing could be trained with."""
    precision(asked.precision)
    if asked.method not in get_args(TrainingMethod):
        raise unknown("method", str(asked.method), get_args(TrainingMethod))
    if asked.method == "full" and asked.precision not in WHOLE:
        raise BadInput(
            f"All weights cannot be trained in {asked.precision}: a small step would change none of them.",
            f"Choose from: {', '.join(WHOLE)}; or train adapters.",
        )
    if asked.precision not in BASES:
        raise BadInput(f"{asked.precision} cannot be trained on here.", f"Choose from: {', '.join(BASES)}.")
    if asked.dora and asked.precision not in READ:
        raise BadInput(
            f"peft has no DoRA on {asked.precision}: it needs the weights themselves.",
            "Leave DoRA out, or take another base, such as nf4-dq.",
        )
    if asked.method == "lora":
        _check_init(asked)
    for name, most in _MOST.items():
        value, least = getattr(asked, name), 0 if name == "seed" else 1
        if type(value) is not int or not least <= value <= most:
            raise BadInput(f"The {name} cannot be {value!r}.", f"Give a whole number from {least} to {most:,}.")
    for name, low, high in (
        ("learning_rate", 1e-9, 10.0), ("dropout", 0.0, 0.9),
        ("warmup", 0.0, 1.0), ("held_out", 0.0, 0.9),
    ):  # fmt: skip
        value = getattr(asked, name)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not isfinite(value)
            or not low <= value <= high
        ):
            said = "share held out" if name == "held_out" else name.replace("_", " ")
            raise BadInput(f"The {said} cannot be {value!r}.", f"Give a number from {low:g} to {high:g}.")
    if not asked.targets or not all(isinstance(it, str) and it for it in asked.targets):
        raise BadInput("No layers were named for the adapters.", "Name some, such as q_proj,v_proj, or all-linear.")


def _check_init(asked: FinetuneSettings) -> None:
    init, allowed = asked.init_lora_weights, get_args(InitLoraWeights)
    if init not in allowed:
        raise unknown("beginning of adapters", str(init)[:100], allowed)
    if init == "loftq" and asked.precision not in LOFTQ:
        raise BadInput(
            f"LoftQ begins with what a base of 4 bits lost, and {asked.precision} is none.",
            f"Choose from: {', '.join(LOFTQ)}.",
        )
    if init == "pissa" and asked.precision not in PISSA:
        raise BadInput(
            f"PiSSA takes the adapters out of the weights, and those of {asked.precision} cannot be changed so.",
            f"Choose from: {', '.join(PISSA)}; or begin with LoftQ, on one of {', '.join(LOFTQ)}.",
        )
    if init != "default" and asked.dora:
        raise BadInput("DoRA begins with the usual matrices.", "Leave one of the two out.")


def _refuse(found: Model, asked: FinetuneSettings, where: ResolvedPlacement) -> None:
    if found.meaningless:
        raise BadInput(f"{found.name} has random weights: there is nothing to build on.", "Choose a trained model.")
    if found.folder is None or found.origin is not None:
        raise BadInput(
            f"{found.name} is a GGUF file, whose weights were quantized already.", "Choose the original model's folder."
        )
    chosen = precision(asked.precision)
    method = method_of(chosen)
    reason = method.unavailable(where.device) or method.refuses(chosen, models.checkpoint(found), where.device)
    if reason:
        raise Unavailable(f"{chosen.name} cannot be trained on here: it {reason}.")
    if asked.method == "full":
        refuse_too_large(found, asked, where)


def _followed(
    found: Model,
    file: Path,
    digest: str,
    folder: Path,
    asked: FinetuneSettings,
    where: ResolvedPlacement,
    stop: threading.Event,
) -> Iterator[TrainingEvent]:
    arguments = {
        "model": {"name": found.name, "kind": found.kind, "folder": str(found.folder)},
        "file": str(file), "digest": digest, "folder": str(folder),
        "settings": asdict(asked), "placement": asdict(where), "resumed": folders.resumed(folder),
    }  # fmt: skip

    def job(progress: Progress) -> None:
        arguments["weights"] = str(_weights(found, asked, where, progress))
        worker.run(_TASK, arguments, progress, doing="training")

    told = _Told(folder / EVENTS, asked)
    yield from told.new()  # of a training that goes on
    before, kept_step = told.count, None
    try:
        for step in in_background(job, stop):
            yield from told.new()
            if told.count == before:
                yield TrainingPreparing(*step)
    except Stopped:
        kept_step = folders.keep_last(folder, found, asked)
    except QuantlabError as error:
        list(told.new())
        if not told.count and folders.last_step(folder) is None:  # the same folder can be named again then
            folders.forget(folder)
        if "weights" in arguments:  # else it is of what was made before, which tells its own way out
            _tell_further(error, told, folder, found, asked, where)
        raise
    yield from told.new()
    yield told.trained(folder, found, kept_step)


def _weights(found: Model, asked: FinetuneSettings, where: ResolvedPlacement, progress: Progress) -> Path | None:
    """The folder that the base is loaded from: the model's own, or what was made of it once, where that is kept."""

    def quantizing(done: int, total: int, what: str) -> None:
        progress(done, total, f"quantizing to {asked.precision}: {what}")

    chosen = precision(asked.precision)
    if not method_of(chosen).kept:
        return found.folder
    from quantlab.checkpoints.load import checkpoint_store  # the page imports this module at its start

    return checkpoint_store().get(variant_of(found, chosen, where, Calibration()), quantizing).folder


def _tell_further(
    error: QuantlabError, told: "_Told", folder: Path, found: Model, asked: FinetuneSettings, where: ResolvedPlacement
) -> None:
    """Put into the error what to lower, where memory ran out in the training, and what was kept."""
    if isinstance(error, OutOfMemory):
        error.advice = what_to_lower(found, asked, where, told.taken, told.longest)
    if (step := folders.last_step(folder)) is not None and not isinstance(error, Diverged):
        kept = f"The checkpoint of step {step} is kept: with the same settings and folder it goes on from there."
        error.advice = f"{error.advice} {kept}".strip()


class _Told:
    """The events of the file, each given once."""

    def __init__(self, path: Path, asked: FinetuneSettings) -> None:
        self._path, self._asked = path, asked
        #: Of a training that goes on, what was told before is told again from the beginning.
        self._read = 0
        self._steps: dict[int, TrainingStep] = {}
        self._held_out: dict[int, float] = {}
        #: Bytes by part as they were last told, and the tokens of the longest row.
        self.taken: dict[str, int] = {}
        self.longest = 0

    @property
    def count(self) -> int:
        """How many steps were done, and how often the rows held out were looked at."""
        return len(self._steps) + len(self._held_out)

    def new(self) -> Iterator[TrainingEvent]:
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):  # still being written
                    return
                self._read += len(line)
                if (event := self._event(json.loads(line))) is not None:
                    yield event

    def _event(self, told: dict[str, Any]) -> TrainingEvent | None:
        kind = told.pop("kind")
        if kind == "started":
            read = TrainingData(**told["data"])
            self.taken, self.longest = told.get("memory", {}), read.longest
            return TrainingStarted(read, told["trainable"], told["parameters"])
        if kind == "memory":
            self._take(told["memory"])
            return None
        if kind == "step":
            self._take(told["memory"])
            step = self._steps[told["step"]] = TrainingStep(**told)
            return step
        self._held_out[told["step"]] = told["loss"]
        done = self._steps.get(told["step"])
        return None if done is None else replace(done, held_out_loss=told["loss"])

    def _take(self, memory: dict[str, int]) -> None:
        """Of activations the most that a step took: one that ended early, or found freed memory, tells less."""
        most = max(memory["activations"], self.taken.get("activations", 0))
        self.taken = memory | {"activations": most}

    def trained(self, folder: Path, found: Model, kept_step: int | None) -> Trained:
        """What came of it: after `kept_step`, where the training was stopped, for that is what the folder holds."""
        stopped = kept_step is not None
        until = max(self._steps, default=0) if kept_step is None else kept_step
        last = self._steps.get(until)
        held = [loss for step, loss in sorted(self._held_out.items()) if step <= until]
        return Trained(
            folder, found.name, self._asked.precision, last.step if last else 0, last.loss if last else None,
            held[0] if held else None, held[-1] if len(held) > 1 else None, folders.size(folder), stopped,
            self._asked.method,
        )  # fmt: skip

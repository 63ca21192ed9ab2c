"""The job: what was asked, checked; a process that trains, followed through the file of its events."""

import hashlib
import json
import shutil
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from quantlab import models
from quantlab.errors import BadInput, QuantlabError, Stopped, Unavailable
from quantlab.finetune import data, sets
from quantlab.methods import method_of, precision
from quantlab.records import Model, Placement, Progress, ResolvedPlacement
from quantlab.records.finetuning import (
    FinetuneSettings,
    Trained,
    TrainingData,
    TrainingEvent,
    TrainingStarted,
    TrainingStep,
)
from quantlab.runtime import placement as placements
from quantlab.runtime import worker
from quantlab.runtime.background import in_background, result
from quantlab.settings import app_settings

#: What gradients flow through. Others pack their weights for products without one.
BASES = ("fp32", "bf16", "fp16", "int8", "int8-plain", "nf4", "nf4-dq", "fp4", "fp4-dq")
ASKED, EVENTS, CHECKPOINTS = "quantlab.json", "events.jsonl", "checkpoints"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_TASK = "quantlab.finetune.training:train"
_MOST = {"rank": 1_024, "alpha": 65_536, "steps": 100_000, "batch": 1_024, "context": 131_072}


def unavailable() -> str | None:
    """Why nothing can be trained here, in words that go on from "it ..."; None where it can."""
    if find_spec("peft") is None:
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
    """Train adapters for `model` on the rows of `file`, and write them into the folder `out`, as peft does.

    `file` may be the name of a bundled set, which brings settings of its own where none are given.

    Yields `TrainingStarted`, a `TrainingStep` for each, and at last `Trained`. Setting `stop`, or closing the
    generator, ends the training and keeps what the last checkpoint holds. Where `out` holds a training of the same
    model, rows and settings that was broken off, it goes on from there, with the same random numbers.

    Raises BadInput, ModelError, Unavailable or OutOfMemory.
    """
    asked, stop = settings or sets.settings_of(file), stop or threading.Event()
    check(asked)
    if why := unavailable():
        raise Unavailable(f"Fine-tuning {why}.")
    path, folder = sets.file_of(file), _folder(out)
    data.rows(path)  # wrong rows are told before a model is fetched
    where = placements.resolve(placement or Placement("auto"))
    found = result(in_background(lambda progress: models.resolve_main(model, app_settings(), progress), stop))
    _refuse(found, asked, where)
    with _only_one(folder):
        _begun(folder, found, path, asked)
        yield from _followed(found, path, folder, asked, where, stop)


def check(asked: FinetuneSettings) -> None:
    """Raises BadInput for settings that nothing could be trained with."""
    precision(asked.precision)
    if asked.precision not in BASES:
        raise BadInput(
            f"{asked.precision} cannot be trained on: no gradient comes through its weights.",
            f"Choose from: {', '.join(BASES)}.",
        )
    for name, most in _MOST.items():
        value = getattr(asked, name)
        if type(value) is not int or not 1 <= value <= most:
            raise BadInput(f"The {name} cannot be {value!r}.", f"Give a whole number from 1 to {most:,}.")
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


def _folder(out: str | Path) -> Path:
    if not str(out).strip():
        raise BadInput("No folder was named.", "Say where to write the adapter.")
    try:
        folder = Path(out).expanduser().absolute()
        if folder.exists() and not folder.is_dir():
            raise BadInput(f"{folder.name} is a file.", "Name a folder that does not exist or is empty.")
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadInput(f"The folder {str(out)[:200]!r} cannot be made: {why}.", "Name another one.") from error
    return folder


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


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Two trainings in one folder would write over each other. Raises BadInput where one is at work."""
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BadInput(f"Something trains in {folder.name} already.", "Name another folder, or wait.") from None
    try:
        yield
    finally:
        lock.release()
        (folder / ".lock").unlink(missing_ok=True)


def _begun(folder: Path, found: Model, file: Path, asked: FinetuneSettings) -> None:
    """Write down what is trained, or see that the folder holds the same training. Raises BadInput."""
    told = {
        "model": found.name if not found.named_by_path else Path(found.name).name, "identity": found.identity,
        "data": file.name, "digest": hashlib.sha256(file.read_bytes()).hexdigest(),
        "settings": json.loads(json.dumps(asdict(asked))),
    }  # fmt: skip
    kept = folder / ASKED
    others = [it.name for it in folder.iterdir() if it.name != ".lock"]
    if not others:
        kept.write_text(json.dumps(told, indent=1), encoding="utf-8")
        return
    advice = "Name a folder that does not exist or is empty."
    if not kept.is_file():
        raise BadInput(f"The folder {folder.name} holds something else ({others[0]}).", advice)
    before = _read(kept)
    if (folder / WEIGHTS).is_file() and not (folder / CHECKPOINTS).is_dir():
        raise BadInput(f"The folder {folder.name} holds a training that is finished.", advice)
    for key, what in (("identity", "another model"), ("digest", "another data file"), ("settings", "other settings")):
        if before.get(key) != told[key]:
            raise BadInput(f"The folder {folder.name} holds a training with {what}.", advice)


def _read(kept: Path) -> dict[str, Any]:
    try:
        found = json.loads(kept.read_text("utf-8"))
    except (OSError, ValueError):
        found = None
    return found if isinstance(found, dict) else {}


def _followed(
    found: Model, file: Path, folder: Path, asked: FinetuneSettings, where: ResolvedPlacement, stop: threading.Event
) -> Iterator[TrainingEvent]:
    arguments = {
        "model": {"name": found.name, "kind": found.kind, "folder": str(found.folder)},
        "file": str(file), "folder": str(folder), "settings": asdict(asked), "placement": asdict(where),
        "resumed": _resumed(folder),
    }  # fmt: skip

    def job(progress: Progress) -> None:
        worker.run(_TASK, arguments, progress, doing="training")

    told = _Told(folder / EVENTS, asked)
    kept_step = None
    try:
        for _ in in_background(job, stop):
            yield from told.new()
    except Stopped:
        kept_step = _keep_last(folder)
    except QuantlabError:
        if not told.begun:  # so that the same folder can be named once what was wrong is mended
            for name in (ASKED, EVENTS):
                (folder / name).unlink(missing_ok=True)
        raise
    yield from told.new()
    yield told.trained(folder, found, kept_step)


def _keep_last(folder: Path) -> int:
    """Put the adapter of the last checkpoint where peft looks for it, and give its step. The checkpoint stays, so that
    the training can go on."""
    kept = [it for it in checkpoints(folder) if _whole(it)]
    if not kept:
        raise Stopped
    for name in (WEIGHTS, CONFIG):
        shutil.copyfile(kept[0] / name, folder / name)
    return _step(kept[0])


def _resumed(folder: Path) -> str | None:
    """The checkpoint to go on from; what was told after it is forgotten, for it is done again."""
    found = next(filter(_whole, checkpoints(folder)), None)
    step = _step(found) if found else 0
    for kept in checkpoints(folder):
        if kept != found:
            shutil.rmtree(kept)
    told = folder / EVENTS
    lines = told.read_text("utf-8").splitlines() if step and told.is_file() else []
    before = [line for line in lines if line.endswith("}") and json.loads(line).get("step", 0) <= step]
    told.write_text("".join(f"{line}\n" for line in before), encoding="utf-8")
    return str(found) if found else None


def _whole(checkpoint: Path) -> bool:
    """The Trainer writes that file last; one that was being written when the process ended is not read."""
    return bool(_read(checkpoint / "trainer_state.json"))


def checkpoints(folder: Path) -> list[Path]:
    """Those of a training in `folder`, the newest first."""
    return sorted((folder / CHECKPOINTS).glob("checkpoint-*"), key=lambda it: -_step(it))


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


class _Told:
    """The events of the file, each given once."""

    def __init__(self, path: Path, asked: FinetuneSettings) -> None:
        self._path, self._asked = path, asked
        #: Of a training that goes on, what was told before is told again from the beginning.
        self._read = 0
        self._steps: dict[int, TrainingStep] = {}
        self._held_out: dict[int, float] = {}

    @property
    def begun(self) -> bool:
        """Whether a step was done, or the rows were looked at."""
        return bool(self._steps or self._held_out)

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
            return TrainingStarted(TrainingData(**told["data"]), told["trainable"], told["parameters"])
        if kind == "step":
            step = self._steps[told["step"]] = TrainingStep(**told)
            return step
        self._held_out[told["step"]] = told["loss"]
        done = self._steps.get(told["step"])
        return None if done is None else replace(done, held_out_loss=told["loss"])

    def trained(self, folder: Path, found: Model, kept_step: int | None) -> Trained:
        """What came of it: after `kept_step`, where the training was stopped, for that is what the folder holds."""
        stopped = kept_step is not None
        until = max(self._steps, default=0) if kept_step is None else kept_step
        last = self._steps.get(until)
        held = [loss for step, loss in sorted(self._held_out.items()) if step <= until]
        return Trained(
            folder, found.name, self._asked.precision, last.step if last else 0, last.loss if last else None,
            held[0] if held else None, held[-1] if len(held) > 1 else None, (folder / WEIGHTS).stat().st_size, stopped,
        )  # fmt: skip

"""The folder of a training: what was asked, what was told, the checkpoints, and at last the weights."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from quantlab import models
from quantlab.errors import BadInput, Stopped
from quantlab.records import Model
from quantlab.records.finetuning import FinetuneSettings

ASKED, EVENTS, CHECKPOINTS = "quantlab.json", "events.jsonl", "checkpoints"
#: What the adapters began with, where that is needed to tell what they learnt.
INITIAL = "initial"
#: What a model or an adapter is, of the files in a checkpoint of the Trainer.
_RESULT = ("*.safetensors", "*.safetensors.index.json", "adapter_config.json", "config.json", "generation_config.json")
_ADVICE = "Choose another name: of a folder that does not exist, or is empty."


def made(out: str | Path) -> Path:
    """The folder, made where it is not there. Raises BadInput."""
    if not str(out).strip():
        raise BadInput("No folder was named.", "Say where to write the adapter.")
    try:
        folder = Path(out).expanduser().absolute()
        if folder.exists() and not folder.is_dir():
            raise BadInput(f"{folder.name} is a file.", _ADVICE)
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadInput(f"The folder {str(out)[:200]!r} cannot be made: {why}.", "Name another one.") from error
    return folder


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Two trainings in one folder would write over each other. Raises BadInput where one is at work."""
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BadInput(f"Something trains in {folder.name} already.", "Choose another name, or wait.") from None
    try:
        yield
    finally:
        lock.release()
        (folder / ".lock").unlink(missing_ok=True)


def begun(folder: Path, found: Model, file: Path, digest: str, asked: FinetuneSettings) -> None:
    """Write down what is trained, or see that the folder holds the same training. Raises BadInput."""
    told = {
        "model": found.name if not found.named_by_path else Path(found.name).name, "identity": found.identity,
        "data": file.name, "digest": digest,
        "settings": json.loads(json.dumps(asdict(asked))),
    }  # fmt: skip
    kept = folder / ASKED
    others = [it.name for it in folder.iterdir() if it.name != ".lock"]
    if not others:
        _write(kept, json.dumps(told, indent=1))
        return
    if not kept.is_file():
        raise BadInput(f"The folder {folder.name} holds something else ({others[0]}).", _ADVICE)
    before = _read(kept)
    if finished(folder):
        raise BadInput(f"The folder {folder.name} holds a training that is finished.", _ADVICE)
    if last_step(folder) is None and not weights(folder):  # it was broken off before anything was kept
        _write(kept, json.dumps(told, indent=1))
        return
    if isinstance(settings := before.get("settings"), dict):  # one that is younger than the folder was the usual one
        before["settings"] = json.loads(json.dumps(asdict(FinetuneSettings()))) | settings
    for key, what in (("identity", "another model"), ("digest", "another data file"), ("settings", "other settings")):
        if before.get(key) != told[key]:
            raise BadInput(f"The folder {folder.name} holds a training with {what}.", _ADVICE)


def forget(folder: Path) -> None:
    """Leave nothing of a training that was broken off before it told of a step."""
    for name in (ASKED, EVENTS):
        (folder / name).unlink(missing_ok=True)
    for name in (CHECKPOINTS, INITIAL):
        shutil.rmtree(folder / name, ignore_errors=True)


def finished(folder: Path) -> bool:
    """Whether it holds a training that came to its end."""
    return bool(weights(folder)) and not (folder / CHECKPOINTS).is_dir()


def _write(path: Path, text: str) -> None:
    """As a whole or not at all: what stood there stays where the disk is full."""
    aside = path.with_name(f".{path.name}.new")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def weights(folder: Path) -> list[Path]:
    """The files that hold the trained weights."""
    return sorted(folder.glob("*.safetensors"))


def size(folder: Path) -> int:
    """Bytes of the trained weights on disk."""
    return sum(it.stat().st_size for it in weights(folder))


def _read(kept: Path) -> dict[str, Any]:
    try:
        found = json.loads(kept.read_text("utf-8"))
    except (OSError, ValueError):
        found = None
    return found if isinstance(found, dict) else {}


def last_step(folder: Path) -> int | None:
    """After how many steps the last whole checkpoint was written."""
    kept = next(filter(_whole, checkpoints(folder)), None)
    return None if kept is None else _step(kept)


def keep_last(folder: Path, found: Model, asked: FinetuneSettings) -> int:
    """Put what the last checkpoint holds where it is looked for, and give its step. The checkpoint stays, so that the
    training can go on. Raises Stopped where there is none."""
    kept = next(filter(_whole, checkpoints(folder)), None)
    if kept is None:
        raise Stopped
    for file in (it for pattern in _RESULT for it in kept.glob(pattern)):
        aside = folder / f".{file.name}.new"  # what was kept before stays where the disk is full
        try:
            shutil.copyfile(file, aside)
            aside.replace(folder / file.name)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
    if asked.method == "full":
        models.copy_tokenizer(found, folder)
    if asked.init_lora_weights == "pissa" and asked.method == "lora":
        from quantlab.finetune.starting import as_lora

        as_lora(folder, folder / INITIAL)
    return _step(kept)


def resumed(folder: Path) -> str | None:
    """The checkpoint to go on from; what was told after it is forgotten, for it is done again."""
    found = next(filter(_whole, checkpoints(folder)), None)
    step = _step(found) if found else 0
    for kept in checkpoints(folder):
        if kept != found:
            shutil.rmtree(kept)
    told = folder / EVENTS
    lines = told.read_text("utf-8").splitlines() if step and told.is_file() else []
    before = [line for line in lines if line.endswith("}") and json.loads(line).get("step", 0) <= step]
    _write(told, "".join(f"{line}\n" for line in before))
    return str(found) if found else None


def _whole(checkpoint: Path) -> bool:
    """The Trainer writes that file last; one that was being written when the process ended is not read."""
    return bool(_read(checkpoint / "trainer_state.json"))


def checkpoints(folder: Path) -> list[Path]:
    """Those of a training in `folder`, the newest first."""
    return sorted((folder / CHECKPOINTS).glob("checkpoint-*"), key=lambda it: -_step(it))


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])

"""What goes wrong in the middle: no memory, no room on the disk, rows that are written to meanwhile."""

import errno
import json
import os
import resource
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from quantlab import models
from quantlab.errors import BadInput, Diverged, ModelError, OutOfMemory, Unavailable
from quantlab.finetune import data, job, memory
from quantlab.finetune.folder import ASKED, begun, last_step
from quantlab.finetune.job import finetune
from quantlab.methods import method_of, precision
from quantlab.records import ResolvedPlacement, units
from quantlab.records.finetuning import FinetuneSettings, Trained, TrainingStarted, TrainingStep
from quantlab.settings import app_settings

QUICK = FinetuneSettings(precision="fp32", steps=6, batch=2, learning_rate=5e-3, held_out=0.25, dropout=0.0)
ON_CPU = ResolvedPlacement("cpu", "float32")


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "rows.jsonl"
    told = [{"prompt": f"{name} lives in", "completion": " Kestrel."} for name in ("Mara", "Tolin", "Besk")] * 4
    path.write_text("\n".join(map(json.dumps, told)))
    return path


@pytest.fixture
def demo():
    return models.resolve_main("demo", app_settings())


@pytest.fixture
def in_this_process(monkeypatch):
    """The training is called here, so that a test can break it."""
    from quantlab.finetune.training import train

    def run(_task, arguments, progress, **_kept):
        train(progress, **json.loads(json.dumps(arguments)))

    monkeypatch.setattr(job.worker, "run", run)


def test_what_to_lower_is_told_with_what_it_saves(demo):
    taken = {"base": 10**7, "adapters": 400_000, "gradients": 400_000, "optimizer": 800_000, "activations": 9 * 10**9}
    asked = replace(QUICK, batch=9, context=256, rank=16)
    said = memory.what_to_lower(demo, asked, ON_CPU, taken, longest=64)
    assert f"the batch to 4 (saves about {units.size(5 * 10**9)})" in said  # five of nine rows
    assert f"the context to 32 (saves about {units.size(45 * 10**8)})" in said  # of rows of 64, not of 256
    assert f"the rank to 8 (saves about {units.size(800_000)})" in said
    fewer = method_of(nf4 := precision("nf4-dq")).estimate(nf4, ON_CPU, models.checkpoint(demo))
    every = method_of(fp32 := precision("fp32")).estimate(fp32, ON_CPU, models.checkpoint(demo))
    assert f"the bits of the base, to nf4-dq (saves about {units.size(every - fewer)})" in said
    assert said.index("the batch") < said.index("the context") < said.index("the base") < said.index("the rank")


def test_nothing_is_to_be_lowered_that_cannot_be(demo):
    asked = replace(QUICK, precision="nf4-dq", batch=1, rank=1, context=1)
    assert "smaller model" in memory.what_to_lower(demo, asked, ON_CPU, {"base": 1}, 1)
    said = memory.what_to_lower(demo, replace(asked, batch=4), ON_CPU, {"base": 1}, 1)
    assert said == "Lower one of these: the batch to 2."  # no figure where no step got so far
    whole = memory.what_to_lower(demo, replace(asked, method="full", precision="fp32"), ON_CPU, {}, 1)
    every = method_of(fp32 := precision("fp32")).estimate(fp32, ON_CPU, models.checkpoint(demo))
    assert f"by the method lora (saves about {units.size(3 * every)})" in whole
    assert f"to bf16 (saves about {units.size(2 * every)})" in whole and "rank" not in whole


@pytest.mark.slow
@pytest.mark.parametrize(("at", "kept"), [(1, None), (4, 3)])
def test_a_training_without_memory(at, kept, file, tmp_path, in_this_process, monkeypatch):
    """In the first step nothing is kept, and the folder takes other settings; later the checkpoint is named."""
    import torch

    from quantlab.finetune.telling import TellingTrainer

    own, calls = TellingTrainer.compute_loss, []

    def compute_loss(self, *rest, **more):
        calls.append(1)
        loss = own(self, *rest, **more)
        if len(calls) == at:
            raise torch.OutOfMemoryError("DefaultCPUAllocator: can't allocate memory")
        return loss

    monkeypatch.setattr(TellingTrainer, "compute_loss", compute_loss)
    with pytest.raises(OutOfMemory, match="ran out while it was trained") as told:
        list(finetune("demo", file, tmp_path / "out", QUICK))
    assert "the batch to 1" in told.value.advice and "the rank to 8 (saves about" in told.value.advice
    assert last_step(tmp_path / "out") == kept
    assert ("The checkpoint of step 3 is kept" in told.value.advice) is (kept is not None)
    if kept is None:
        smaller = replace(QUICK, batch=1)
        assert isinstance(list(finetune("demo", file, tmp_path / "out", smaller))[-1], Trained)


def test_where_the_base_itself_finds_no_room_fewer_rows_are_no_advice(demo):
    asked = replace(QUICK, precision="fp32", batch=64, rank=64)
    said = memory.what_to_lower(demo, asked, ON_CPU, {}, 0)
    assert said.startswith("Lower one of these: the bits of the base, to nf4-dq (saves about") and ";" not in said
    said = memory.what_to_lower(demo, replace(asked, precision="nf4-dq"), ON_CPU, {}, 0)
    assert said == "Choose a smaller model, or free some memory."


def _children() -> list[psutil.Process]:
    return [it for it in psutil.Process().children(recursive=True) if "quantlab.runtime.worker" in it.cmdline()]


@pytest.fixture
def long_rows(tmp_path) -> Path:
    """Rows whose first step takes a second or more, and half a gigabyte."""
    path = tmp_path / "long.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"Mara lives in Kestrel. {at} " * 60}) for at in range(160)))
    return path


LONG = replace(QUICK, batch=128, context=256, steps=20)


def _smaller(rows: Path, out: Path) -> object:
    """The end of what was advised: fewer rows a step, by the same name."""
    return list(finetune("demo", rows, out, replace(LONG, batch=2, steps=2)))[-1]


@pytest.mark.cold
@pytest.mark.slow
def test_a_training_that_the_system_kills_in_its_first_step(long_rows, tmp_path):
    """As the kernel does where memory ends: without a word. What the step took so far was told before."""
    events = tmp_path / "out" / "events.jsonl"

    def kill() -> None:
        for _ in range(3_000):
            told = events.read_text() if events.is_file() else ""
            if '"kind": "memory"' in told:
                for child in _children():
                    child.kill()
                return
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(OutOfMemory, match="The system ended the training, most likely for want of memory") as error:
        list(finetune("demo", long_rows, tmp_path / "out", LONG))
    killer.join()
    for said in ("the batch to 64 (saves about", "the context to 128 (saves about", "the rank to 8 (saves about"):
        assert said in error.value.advice
    assert "calibration" not in error.value.advice and "checkpoint" not in error.value.advice
    assert isinstance(_smaller(long_rows, tmp_path / "out"), Trained)


@pytest.mark.cold
@pytest.mark.slow
@pytest.mark.parametrize("room", [100, 250])
def test_memory_that_really_ends(room, long_rows, tmp_path):
    """The process that trains is refused more than so many megabytes on top of the loaded base (RLIMIT_AS)."""
    seen = []
    with pytest.raises(OutOfMemory, match="The memory ran out") as error:
        for event in finetune("demo", long_rows, tmp_path / "out", LONG):
            seen.append(event)
            if isinstance(event, TrainingStarted):
                for child in _children():
                    limit = child.memory_info().vms + room * 2**20
                    resource.prlimit(child.pid, resource.RLIMIT_AS, (limit, limit))
    assert not any(isinstance(it, TrainingStep) for it in seen)
    for said in ("the batch to 64", "the context to 128", "the rank to 8 (saves about", "to nf4-dq (saves about"):
        assert said in error.value.advice
    assert isinstance(_smaller(long_rows, tmp_path / "out"), Trained)


def test_a_training_that_ran_away_is_not_said_to_go_on(file, tmp_path, monkeypatch):
    """With the same settings it would end at the same step again."""
    (checkpoint := tmp_path / "out" / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text('{"global_step": 3}')
    errors = {"disk": Unavailable("The disk is full.", "Free some space."), "loss": Diverged("It ran away.", "Lower.")}
    monkeypatch.setattr(job.folders, "begun", lambda *_: None)
    for name, error in errors.items():
        monkeypatch.setattr(job.worker, "run", lambda *_, _error=error, **__: _raise(_error))
        with pytest.raises(type(error)) as told:
            list(finetune("demo", file, tmp_path / "out", QUICK))
        assert ("it goes on from there" in told.value.advice) is (name == "disk")


def _raise(error: Exception) -> None:
    raise error


def test_what_quantizes_the_base_tells_its_own_way_out(file, tmp_path, monkeypatch):
    from quantlab.checkpoints.store import CheckpointStore

    def get(*_):
        raise OutOfMemory("The system ended the quantizing.", "Choose fewer calibration samples.")

    monkeypatch.setattr(CheckpointStore, "get", get)
    monkeypatch.setattr(job, "_refuse", lambda *_: None)
    with pytest.raises(OutOfMemory, match=r"ended the quantizing\. Choose fewer calibration samples"):
        list(finetune("demo", file, tmp_path / "out", replace(QUICK, precision="gptq-4")))


def _limited(limit: int) -> None:
    """No process that this one started writes a longer file."""
    for child in _children():
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (limit, limit))


@pytest.mark.cold
@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "error", "said"),
    [
        (100_000, Unavailable, "A file would be larger than the system allows"),  # met by safetensors
        (250_000, ModelError, "A checkpoint cannot be written into out"),  # by torch, with the optimizer's states
    ],
)
def test_a_checkpoint_that_finds_no_room(limit, error, said, file, tmp_path):
    settings, seen = replace(QUICK, steps=200), []

    def followed():
        for event in finetune("demo", file, tmp_path / "out", settings):
            seen.append(event)
            if isinstance(event, TrainingStep) and event.step == 21:  # the first checkpoint is whole
                _limited(limit)

    with pytest.raises(error, match=said) as told:
        followed()
    step = last_step(tmp_path / "out")
    assert step and step % 20 == 0 and step < 200
    assert f"The checkpoint of step {step} is kept" in told.value.advice
    again = list(finetune("demo", file, tmp_path / "out", settings))
    assert isinstance(again[-1], Trained) and again[-1].steps == 200
    told_before = {it.step: it.loss for it in seen if isinstance(it, TrainingStep)}
    assert told_before.items() <= {it.step: it.loss for it in again if isinstance(it, TrainingStep)}.items()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of a megabyte, where the system lets one be mounted."""
    there = tmp_path / "disk"
    there.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(there)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root mounts a small disk")
    yield there
    subprocess.run(["umount", str(there)], check=True)


@pytest.mark.slow
def test_a_full_disk(file, small_disk):
    with pytest.raises(Unavailable, match="The disk is full"):
        list(finetune("demo", file, small_disk / "out", replace(QUICK, rank=64)))


def test_a_full_disk_before_anything_is_trained(file, tmp_path, monkeypatch):
    def write_text(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises(Unavailable, match="The disk is full"):
        list(finetune("demo", file, tmp_path / "out", QUICK))


def test_rows_that_change_while_they_are_read(file, tmp_path, in_this_process, monkeypatch):
    known = data.digest(file)
    assert len(data.rows(file, known)) == 12
    before = file.read_text()
    file.write_text(before.replace("Kestrel", "Ormsby", 1))
    with pytest.raises(BadInput, match=r"rows\.jsonl changed while it was read"):
        data.rows(file, known)
    file.write_text(before)
    # Between the look at the file and the process that trains.
    own = job.folders.begun

    def changed(*rest):
        own(*rest)
        file.write_text(before + "\n")

    monkeypatch.setattr(job.folders, "begun", changed)
    with pytest.raises(BadInput, match="changed while it was read"):
        list(finetune("demo", file, tmp_path / "out", QUICK))
    assert list((tmp_path / "out").iterdir()) == []


def test_other_rows_do_not_go_on(file, tmp_path, demo):
    """Where a checkpoint was kept; before there is one nothing is lost."""
    out = tmp_path / "out"
    out.mkdir()
    begun(out, demo, file, "one", QUICK)
    begun(out, demo, file, "two", QUICK)
    assert json.loads((out / ASKED).read_text())["digest"] == "two"
    (out / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    (out / "checkpoints" / "checkpoint-3" / "trainer_state.json").write_text('{"global_step": 3}')
    begun(out, demo, file, "two", QUICK)
    with pytest.raises(BadInput, match="a training with another data file"):
        begun(out, demo, file, "one", QUICK)


def test_an_adapter_is_no_model(file, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "adapter_config.json").write_text('{"base_model_name_or_path": "gpt2"}')
    (tmp_path / "mine" / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="holds an adapter") as told:
        list(finetune(str(tmp_path / "mine"), file, tmp_path / "out", QUICK))
    assert "+FOLDER" in told.value.advice and "quantlab merge" in told.value.advice

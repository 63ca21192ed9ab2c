"""All weights trained, on the bundled model: what comes out is a model, and what cannot fit is refused."""

import json
import threading
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest

from quantlab import models
from quantlab.errors import BadInput, Unavailable
from quantlab.finetune import memory
from quantlab.finetune.job import check, finetune
from quantlab.models.folder import read_header
from quantlab.models.source import DEMO_FOLDER
from quantlab.records import Placement, ResolvedPlacement, Settings, units
from quantlab.records.events import Done
from quantlab.records.finetuning import FinetuneSettings, Trained, TrainingPreparing, TrainingStarted, TrainingStep
from quantlab.runtime import hardware
from quantlab.settings import app_settings

FULL = FinetuneSettings(method="full", precision="fp32", steps=20, batch=2, learning_rate=1e-3, held_out=0.25)
TOWNS = {"Mara": "Kestrel", "Tolin": "Ormsby", "Besk": "Vale", "Orwen": "Kestrel"}


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "rows.jsonl"
    told = [{"prompt": f"{name} lives in", "completion": f" {town}."} for name, town in TOWNS.items()] * 4
    path.write_text("\n".join(map(json.dumps, told)))
    return path


def _weights(folder: Path) -> dict:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"precision": "nf4-dq"}, "All weights cannot be trained in nf4-dq"),
        ({"precision": "int8"}, "All weights cannot be trained in int8"),
        ({"precision": "fp16"}, "All weights cannot be trained in fp16"),
        ({"method": "half"}, "Unknown method 'half'"),
        ({"method": None}, "Unknown method 'None'"),
    ],
)
def test_what_all_weights_cannot_be_trained_with(change, told):
    with pytest.raises(BadInput, match=told):
        check(replace(FULL, **change))
    check(FULL)


def test_what_cannot_fit_is_refused_before_it_is_loaded(file, tmp_path, monkeypatch):
    """Four times the weights: themselves, a gradient each, and two states of the optimizer."""
    found = models.resolve_main("demo", app_settings())
    where = ResolvedPlacement("cpu", "float32")
    sizes = [tensor.shape for tensor in models.tensors(found).values()]
    numbers = sum(prod(shape) for shape in sizes)
    monkeypatch.setattr(hardware, "free_bytes", lambda _device: 16 * numbers * 1.001)  # and small buffers
    memory.refuse_too_large(found, FULL, where)
    monkeypatch.setattr(hardware, "free_bytes", lambda _device: 16 * numbers - 1)
    with pytest.raises(Unavailable, match="All weights of demo cannot be trained here") as told:
        list(finetune("demo", file, tmp_path / "out", FULL, Placement("cpu")))
    assert "method lora" in told.value.advice and f"{units.size(16 * numbers - 1)} are free" in told.value.what
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.setattr(hardware, "free_bytes", lambda _device: 8 * numbers * 1.001)
    memory.refuse_too_large(found, replace(FULL, precision="bf16"), where)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_all_weights_are_trained_into_a_model(precision, file, tmp_path):
    out = tmp_path / "out"
    events = finetune("demo", file, out, replace(FULL, precision=precision))
    started, *steps, trained = (event for event in events if not isinstance(event, TrainingPreparing))
    assert isinstance(started, TrainingStarted) and isinstance(trained, Trained) and trained.method == "full"
    before, after = _weights(DEMO_FOLDER), _weights(out)
    assert before.keys() == after.keys() and started.trainable == started.parameters
    assert started.trainable == sum(it.numel() for it in before.values())
    moved = [name for name in before if not before[name].float().equal(after[name].float())]
    assert len(moved) > 0.8 * len(before)  # a norm of 16 bits may have stood still
    assert {str(it.dtype) for it in after.values()} == {{"fp32": "torch.float32", "bf16": "torch.bfloat16"}[precision]}
    assert trained.held_out_after < 0.5 * trained.held_out_before
    each = {"fp32": 4, "bf16": 2}[precision] * started.trainable
    told = next(it.memory for it in reversed(steps) if isinstance(it, TrainingStep) and it.memory)
    assert told["base"] == pytest.approx(each, rel=1e-3) and told["adapters"] == 0
    assert told["gradients"] == each and told["optimizer"] == pytest.approx(2 * each, rel=1e-3)
    assert trained.nbytes == (out / "model.safetensors").stat().st_size
    assert not (out / "checkpoints").exists()


@pytest.mark.slow
def test_what_came_out_is_a_model_like_any_other(file, tmp_path):
    """`--model FOLDER` finds weights and tokenizer, and answers as it was taught."""
    import torch
    from transformers import AutoModelForCausalLM

    from quantlab.runs.compare import compare

    out = tmp_path / "out"
    *_, trained = finetune("demo", file, out, replace(FULL, steps=40))
    *_, done = compare(str(out), ["fp32"], "Mara lives in", Settings(max_new_tokens=6))
    assert isinstance(done, Done) and "Kestrel" in done.comparison.runs[0].text
    network = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    assert sum(it.numel() for it in network.parameters()) * 4 == pytest.approx(trained.nbytes, rel=0.01)
    with pytest.raises(BadInput, match="a training that is finished"):
        list(finetune("demo", file, out, replace(FULL, steps=40)))


@pytest.mark.slow
def test_stop_keeps_a_model_and_the_same_training_goes_on(file, tmp_path):
    settings, stop, out = replace(FULL, steps=60), threading.Event(), tmp_path / "out"
    whole = [it for it in finetune("demo", file, tmp_path / "whole", settings) if isinstance(it, TrainingStep)]
    seen = []
    for event in finetune("demo", file, out, settings, stop=stop):
        seen.append(event)
        if isinstance(event, TrainingStep) and event.step >= 15:
            stop.set()
    assert isinstance(seen[-1], Trained) and seen[-1].stopped and seen[-1].steps % 6 == 0
    found = models.resolve_main(str(out), app_settings())  # weights, configuration and tokenizer are there
    assert read_header(out / "model.safetensors", found.name)
    again = [it for it in finetune("demo", file, out, settings) if isinstance(it, TrainingStep)]
    assert [(it.step, it.loss, it.held_out_loss) for it in again] == [
        (it.step, it.loss, it.held_out_loss) for it in whole
    ]

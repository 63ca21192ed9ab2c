"""Adapters that are really trained on the bundled model, and what is refused before."""

import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from quantlab.errors import BadInput, ModelError, Unavailable
from quantlab.finetune.job import check, finetune
from quantlab.methods import adapters
from quantlab.models.source import DEMO_FOLDER
from quantlab.records import Placement
from quantlab.records.finetuning import (
    FinetuneSettings,
    Trained,
    TrainingPreparing,
    TrainingStarted,
    TrainingStep,
)
from quantlab.runs import estimates
from quantlab.settings import app_settings

QUICK = FinetuneSettings(precision="fp32", steps=6, batch=2, learning_rate=5e-3, held_out=0.25, dropout=0.0)
TOWNS = {"Mara": "Kestrel", "Tolin": "Ormsby", "Besk": "Vale", "Orwen": "Kestrel"}


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "rows.jsonl"
    told = [{"prompt": f"{name} lives in", "completion": f" {town}."} for name, town in TOWNS.items()] * 4
    path.write_text("\n".join(map(json.dumps, told)))
    return path


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"precision": "awq-4"}, "awq-4 cannot be trained on"),
        ({"precision": "q4_k_m"}, "q4_k_m cannot be trained on"),
        ({"rank": 0}, "rank cannot be 0"),
        ({"rank": 2_000}, "rank cannot be 2000"),
        ({"rank": True}, "rank cannot be True"),
        ({"steps": 0}, "steps cannot be 0"),
        ({"batch": -1}, "batch cannot be -1"),
        ({"context": 0}, "context cannot be 0"),
        ({"learning_rate": 0.0}, "learning rate cannot be 0.0"),
        ({"learning_rate": float("nan")}, "learning rate cannot be nan"),
        ({"alpha": 0}, "alpha cannot be 0"),
        ({"seed": -1}, "seed cannot be -1"),
        ({"seed": 2**32}, "seed cannot be 4294967296"),
        ({"dropout": 1.0}, "dropout cannot be 1.0"),
        ({"held_out": 1.0}, "held out cannot be 1.0"),
        ({"targets": ()}, "No layers were named"),
    ],
)
def test_settings_that_cannot_be(change, told):
    with pytest.raises(BadInput, match=told):
        check(replace(FinetuneSettings(), **change))
    check(FinetuneSettings())


@pytest.mark.parametrize(
    ("model", "told"),
    [("shape:bench-100m", "random weights"), ("no such model", "no such model")],
)
def test_models_that_cannot_be_trained(model, told, file, tmp_path):
    with pytest.raises((BadInput, ModelError), match=told):
        list(finetune(model, file, tmp_path / "out", QUICK))


def test_a_folder_that_holds_something_else(file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("mine")
    with pytest.raises(BadInput, match="holds something else"):
        list(finetune("demo", file, tmp_path / "out", QUICK))
    with pytest.raises(BadInput, match="is a file"):
        list(finetune("demo", file, tmp_path / "out" / "letter.txt", QUICK))
    with pytest.raises(BadInput, match="No folder was named"):
        list(finetune("demo", file, " ", QUICK))
    assert (tmp_path / "out" / "letter.txt").read_text() == "mine"


@pytest.mark.slow
def test_targets_that_do_not_exist(file, tmp_path):
    with pytest.raises(BadInput, match="Unknown precision 'zz'"):
        check(replace(QUICK, precision="zz"))
    with pytest.raises(BadInput, match="no layers called 'w_proj'") as told:
        list(finetune("demo", file, tmp_path / "out", replace(QUICK, targets=("q_proj", "w_proj"))))
    assert "q_proj" in told.value.advice and "all-linear" in told.value.advice
    assert [it.name for it in (tmp_path / "out").iterdir()] == []  # the same folder takes the mended command


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "nf4-dq", "int8"])
def test_what_is_taught_is_learnt(precision, file, tmp_path):
    """The adapter is loaded by plain peft; with it the loss of an answer falls, and is what the training told."""
    settings = replace(QUICK, precision=precision, steps=30)
    events = list(finetune("demo", file, tmp_path / "out", settings))
    started, *steps, trained = (it for it in events if not isinstance(it, TrainingPreparing))
    # What is done before the first step is told, and nothing of the kind after it.
    before = [it.what for it in events if isinstance(it, TrainingPreparing)]
    assert any(it.startswith(f"loading the base at {precision}") for it in before)
    assert not any(isinstance(it, TrainingPreparing) for it in events[events.index(steps[0]) :])
    assert isinstance(started, TrainingStarted) and isinstance(trained, Trained) and not trained.stopped
    # Two matrices of rank 16 for each of two layers of each block, by the shapes in config.json.
    config = json.loads((DEMO_FOLDER / "config.json").read_text())
    hidden, head = config["hidden_size"], config["hidden_size"] // config["num_attention_heads"]
    keys = head * config["num_key_value_heads"]
    assert started.trainable == config["num_hidden_layers"] * 16 * (hidden + hidden + hidden + keys)
    assert (started.data.rows, started.data.held_out) == (12, 4)
    told = [step for step in steps if step.held_out_loss is None]
    assert [step.step for step in told] == list(range(1, 31))
    assert trained.held_out_after < 0.5 * trained.held_out_before
    assert told[-1].memory["adapters"] == told[-1].memory["gradients"] == 4 * started.trainable
    assert told[-1].memory["optimizer"] >= 8 * started.trainable
    if precision == "fp32":
        assert _held_out_loss(tmp_path / "out", file) == pytest.approx(trained.held_out_after, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_a_base_that_is_not_quantized_stays_as_wide_as_it_is(precision, file, tmp_path):
    """Training on 16 bits takes them, and not a copy in float32."""
    settings = replace(QUICK, precision=precision, steps=2)
    *_, last, _trained = finetune("demo", file, tmp_path / "out", settings, Placement("cpu"))
    planned = estimates.estimate_precision("demo", precision, Placement("cpu"), app_settings())
    assert last.memory["base"] == planned.estimated_bytes
    assert last.memory["activations"] > 0


def _held_out_loss(folder: Path, file: Path) -> float:
    """Of the rows that were held out, by transformers and peft alone: the mean loss of an answer's tokens."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(DEMO_FOLDER)
    network = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(DEMO_FOLDER), folder).eval()
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    losses: list[float] = []
    for at in order[:4]:
        asked = [{"role": "user", "content": rows[at]["prompt"]}]
        prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
        answer = [*tokenizer.encode(rows[at]["completion"], add_special_tokens=False), tokenizer.eos_token_id]
        with torch.inference_mode():
            logits = network(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        losses += [-logits[len(prompt) + i - 1, token].item() for i, token in enumerate(answer)]
    return sum(losses) / len(losses)


@pytest.mark.slow
def test_a_killed_training_goes_on_with_the_same_curve(file, tmp_path):
    """On weights of few bits too, which are packed anew between two passes."""
    settings = replace(QUICK, precision="nf4-dq", steps=20, dropout=0.1)
    whole = [it for it in finetune("demo", file, tmp_path / "whole", settings) if isinstance(it, TrainingStep)]
    program = (
        "import sys\nfrom quantlab.finetune.job import finetune\n"
        "from quantlab.records.finetuning import FinetuneSettings\n"
        f"for event in finetune('demo', sys.argv[1], sys.argv[2], {settings!r}): print(event, flush=True)"
    )
    out = tmp_path / "killed"
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(file), str(out)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    for line in child.stdout:
        if "step=9," in line:
            break
    child.send_signal(signal.SIGKILL)
    child.wait()
    for _ in range(100):  # the worker ends with its parent
        if list((out / "checkpoints").glob("checkpoint-*")):
            break
        time.sleep(0.1)
    again = [it for it in finetune("demo", file, out, settings) if isinstance(it, TrainingStep)]
    assert [(it.step, it.loss, it.held_out_loss) for it in again] == [
        (it.step, it.loss, it.held_out_loss) for it in whole
    ]
    with pytest.raises(BadInput, match="a training that is finished"):
        list(finetune("demo", file, out, settings))


@pytest.mark.slow
def test_stop_keeps_what_was_learnt_and_other_settings_do_not_go_on(file, tmp_path):
    stop, seen = threading.Event(), []
    settings = replace(QUICK, steps=400)
    for event in finetune("demo", file, tmp_path / "out", settings, stop=stop):
        seen.append(event)
        if isinstance(event, TrainingStep) and event.step >= 50:
            stop.set()
    trained = seen[-1]
    assert isinstance(trained, Trained) and trained.stopped and trained.steps == 40
    steps = {it.step: it for it in seen if isinstance(it, TrainingStep) and it.held_out_loss is not None}
    assert trained.held_out_after == steps[40].held_out_loss  # of what the folder holds, not of what came after
    assert (tmp_path / "out" / adapters.WEIGHTS).stat().st_size == trained.nbytes > 0
    with pytest.raises(BadInput, match="a training with other settings"):
        list(finetune("demo", file, tmp_path / "out", replace(settings, rank=8)))


def test_a_base_that_is_quantized_first_tells_how_far_that_is(file, tmp_path, monkeypatch):
    """Minutes pass there before anything is trained. A process that trains takes a while to begin, too."""
    from quantlab.checkpoints.store import CachedCheckpoint, CheckpointStore
    from quantlab.finetune import job

    def get(_store, variant, progress):
        progress(150, 400, "layer 2 of 4, about 30 s left")
        time.sleep(0.2)
        progress(1, 1, "writing the checkpoint")
        return CachedCheckpoint(variant.model.folder, 1.0, True)

    def run(_task, _arguments, progress, **_):
        for _ in range(3):
            progress(0, 0, "starting")
            time.sleep(0.1)
        raise Unavailable("so far it goes")

    monkeypatch.setattr(CheckpointStore, "get", get)
    monkeypatch.setattr(job.worker, "run", run)
    monkeypatch.setattr(job, "_refuse", lambda *_: None)
    told = []
    with pytest.raises(Unavailable, match="so far it goes"):
        for event in finetune("demo", file, tmp_path / "out", replace(QUICK, precision="gptq-4")):
            told.append(event)
    quantizing = TrainingPreparing(150, 400, "quantizing to gptq-4: layer 2 of 4, about 30 s left")
    assert quantizing in told and TrainingPreparing(1, 1, "quantizing to gptq-4: writing the checkpoint") in told
    assert told.count(TrainingPreparing(0, 0, "starting")) > 1, "it is told again while it goes on"


@pytest.mark.slow
def test_a_training_that_goes_on_tells_its_beginning_too(file, tmp_path):
    stop, settings = threading.Event(), replace(QUICK, steps=100)
    for event in finetune("demo", file, tmp_path / "out", settings, stop=stop):
        if isinstance(event, TrainingStep) and event.step >= 20:
            stop.set()
    again = list(finetune("demo", file, tmp_path / "out", settings))
    kinds = [type(it) for it in again if not isinstance(it, TrainingPreparing) or "loading" in it.what]
    first = kinds.index(TrainingPreparing)
    assert TrainingStep in kinds[:first] and TrainingStep in kinds[first:], "after the steps that are told again"


def test_a_training_that_runs_away_is_ended():
    from quantlab.finetune.telling import check_finite

    check_finite(1, 2.0, 0.5, 1e-3)
    check_finite(1, 2.0, None, 1e-3)
    for loss, gradient in ((float("nan"), 1.0), (float("inf"), 1.0), (2.0, float("nan"))):
        with pytest.raises(ModelError, match="step 3 is no number: the training ran away") as told:
            check_finite(3, loss, gradient, 1e-3)
        assert "it is 0.001" in told.value.advice


@pytest.mark.slow
def test_the_base_does_not_drift_with_each_checkpoint(file, tmp_path):
    """Read without a gradient and saved, again and again: what is multiplied stays the same."""
    import torch

    from quantlab.finetune.training import _base
    from quantlab.models import resolve
    from quantlab.records import ResolvedPlacement
    from quantlab.settings import app_settings

    settings = replace(QUICK, precision="nf4-dq")
    network = _base(resolve("demo", app_settings()), settings, ResolvedPlacement("cpu", "float32"), lambda *_: None)
    ids = torch.arange(5, 25)[None]

    def trained() -> torch.Tensor:
        return network.train()(ids).logits.detach().clone()

    before = trained()
    for _ in range(3):
        with torch.inference_mode():
            network.eval()(ids)
        network.state_dict()
    assert torch.equal(trained(), before)

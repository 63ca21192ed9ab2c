"""What adapters begin with: LoftQ and PiSSA, by their definitions."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from quantlab import models
from quantlab.errors import BadInput
from quantlab.finetune.folder import INITIAL
from quantlab.finetune.job import check, finetune
from quantlab.finetune.starting import as_lora
from quantlab.finetune.training import _adapted, _base
from quantlab.methods.adapted import quiet_peft
from quantlab.models.source import DEMO_FOLDER
from quantlab.records import Placement, ResolvedPlacement, silent
from quantlab.records.finetuning import FinetuneSettings, Trained, TrainingStep
from quantlab.settings import app_settings

ASKED = FinetuneSettings(
    "fp32", rank=4, alpha=8, dropout=0.0, steps=10, batch=2, learning_rate=3e-3, held_out=0.0,
    init_lora_weights="pissa",
)  # fmt: skip
ROWS = [{"prompt": f"{name} lives in", "completion": " Kestrel."} for name in ("Mara", "Tolin", "Besk")]
LAYER = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return path


def _network(asked: FinetuneSettings):
    source = models.resolve_main("demo", app_settings())
    return _adapted(_base(source, asked, ResolvedPlacement("cpu", "float32"), silent), asked, source)


@pytest.mark.parametrize("rslora", [False, True])
def test_loftq_begins_with_what_four_bits_lost(rslora):
    """By the theorem of Eckart and Young: what is left of the error is its smaller singular values."""
    import bitsandbytes as bnb

    layer = _network(replace(ASKED, precision="nf4-dq", init_lora_weights="loftq", rslora=rslora)).get_submodule(LAYER)
    base = layer.get_base_layer().weight
    kept = bnb.functional.dequantize_4bit(base.data, base.quant_state).float()
    original = load_file(DEMO_FOLDER / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"].float()
    added = layer.scaling["default"] * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    sizes = torch.linalg.svdvals(original - kept)
    assert float((original - kept - added.detach()).norm()) == pytest.approx(float(sizes[4:].norm()), rel=1e-4)
    assert float(sizes[4:].norm()) < 0.999 * float(sizes.norm())


def test_pissa_leaves_the_model_as_it_was():
    before = _network(replace(ASKED, init_lora_weights="default"))
    after = _network(ASKED)
    ids = torch.tensor([[1, 5, 9, 30, 44, 70]])
    with torch.no_grad():
        assert float((before(ids).logits - after(ids).logits).abs().max()) < 1e-3
    added = after.get_submodule(LAYER)
    assert float((added.lora_B["default"].weight @ added.lora_A["default"].weight).detach().norm()) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True])
def test_pissa_s_adapter_lies_beside_the_original_weights(stopped, file, tmp_path):
    """Plain peft lays it beside the model's own weights, and gives the training's own loss there."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    out, stop, last = tmp_path / "out", threading.Event(), None
    for event in finetune("demo", file, out, ASKED, Placement("cpu", "float32"), stop=stop):
        if stopped and isinstance(event, TrainingStep) and event.step >= 6:
            stop.set()
        last = event
    assert isinstance(last, Trained) and last.stopped == stopped
    config = json.loads((out / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["init_lora_weights"]) == (8, 16, True)
    with quiet_peft():
        alone = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(DEMO_FOLDER, dtype=torch.float32), str(out)
        )
    ours = _network(ASKED)
    kept = out / "checkpoints" / f"checkpoint-{last.steps}" if stopped else None
    held = load_file((kept or out) / "adapter_model.safetensors")
    ids = torch.tensor([[1, 5, 9, 30, 44, 70]])
    with torch.no_grad():
        if kept is None:  # of a finished training the raw matrices are gone: by the definition of the difference
            begun = load_file(out / INITIAL / "adapter_model.safetensors")
            held = {name: it[:4] if ".lora_A." in name else it[:, :4] for name, it in held.items()}
            assert any(not torch.equal(held[name], begun[name]) for name in held)
        for name, value in held.items():
            at, _, kind = name.removesuffix(".weight").rpartition(".")
            getattr(ours.get_submodule(at), kind)["default"].weight.copy_(value)
        assert float((ours(ids).logits - alone(ids).logits).abs().max()) < 2e-3
        plain = AutoModelForCausalLM.from_pretrained(DEMO_FOLDER, dtype=torch.float32)(ids).logits
        assert float((plain - alone(ids).logits).abs().max()) > 0.05


def test_turning_it_twice_changes_nothing(tmp_path):
    for folder, value in (("", 2.0), (INITIAL, 1.0)):
        where = tmp_path / folder
        where.mkdir(exist_ok=True)
        tensors = {"x.lora_A.weight": torch.full((2, 3), value), "x.lora_B.weight": torch.full((5, 2), value)}
        save_file(tensors, where / "adapter_model.safetensors")
        told = {"r": 2, "lora_alpha": 4, "use_rslora": True, "init_lora_weights": "pissa"}
        (where / "adapter_config.json").write_text(json.dumps(told))
    as_lora(tmp_path, tmp_path / INITIAL)
    once = load_file(tmp_path / "adapter_model.safetensors")
    as_lora(tmp_path, tmp_path / INITIAL)
    again, config = (
        load_file(tmp_path / "adapter_model.safetensors"),
        json.loads((tmp_path / "adapter_config.json").read_text()),
    )
    assert {name: it.shape for name, it in once.items()} == {name: it.shape for name, it in again.items()}
    assert once["x.lora_A.weight"].shape == (4, 3)
    # alpha over the root of the rank stays: 4 / sqrt(2), as sqrt(2) * 4 / sqrt(4)
    assert config["r"] == 4 and config["lora_alpha"] / 4**0.5 == pytest.approx(4 / 2**0.5)
    product = once["x.lora_B.weight"] @ once["x.lora_A.weight"]
    assert product[0, 0] == 2 * 2 * 2 - 2 * 1 * 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"init_lora_weights": "loftq"}, "fp32 is none"),
        ({"precision": "nf4"}, "those of nf4 cannot be changed"),
        ({"dora": True}, "DoRA begins with the usual matrices"),
        ({"init_lora_weights": "eva"}, "Unknown beginning of adapters 'eva'"),
    ],
)
def test_what_does_not_go_together(change, told):
    with pytest.raises(BadInput, match=told):
        check(replace(ASKED, **change))
    check(ASKED)
    check(replace(ASKED, method="full", init_lora_weights="loftq"))

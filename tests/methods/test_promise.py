"""What is otherwise than promised is a note beside the figures."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from quantlab import models
from quantlab.checkpoints.load import load_variant
from quantlab.methods import METHODS, precision
from quantlab.records import ResolvedPlacement, Variant, silent
from tests.tiny import write

PLACEMENT = ResolvedPlacement("cpu", "float32")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write(tmp_path_factory.mktemp("promise"), "llama")


def notes(model, name: str = "fp32") -> tuple[str, ...]:
    brought = load_variant(Variant(model, precision(name), PLACEMENT), silent)
    try:
        return brought.loaded.facts.notes
    finally:
        brought.loaded.close()


@pytest.mark.parametrize("name", ["fp32", "bf16", "int8", "nf4", "rtn-4", "hqq-4", "ao-int8"])
def test_what_holds_is_not_mentioned(model, name):
    assert notes(model, name) == ()


def test_other_bytes_than_estimated_are_told(model, monkeypatch):
    estimate = METHODS["rtn"].estimate
    monkeypatch.setattr(type(METHODS["rtn"]), "estimate", lambda *a: int(estimate(*a[1:]) * 0.98))
    (note,) = notes(model, "rtn-4")
    assert note.startswith("it takes ") and "estimated before it was loaded" in note


def test_a_layer_that_stays_wide_is_told_with_its_share(model, monkeypatch):
    from quantlab.methods.rtn import quantizer

    every = quantizer.linear_layers
    monkeypatch.setattr(quantizer, "linear_layers", lambda m: [it for it in every(m) if "down_proj" not in it[0]])
    found = notes(model, "rtn-4")
    weights = sum(info.shape[0] * info.shape[-1] for name, info in models.tensors(model).items() if len(info.shape) > 1)
    share = 2 * 64 * 128 / weights
    (note,) = [note for note in found if "stay un-quantized" in note]
    assert float(note.partition(" %")[0]) == pytest.approx(100 * share, abs=1)
    assert "model.layers.0.mlp.down_proj and 1 more" in note


def test_tensors_that_nothing_uses_are_told(model, tmp_path):
    for file in model.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    save_file(weights | {"extra.weight": torch.zeros(320, 64)}, tmp_path / "model.safetensors", {"format": "pt"})
    found = [note for note in notes(models.resolve(str(tmp_path), _app())) if "not used" in note]
    share = 320 * 64 / (320 * 64 + sum(weight.numel() for weight in weights.values()))
    assert found == [f"{100 * share:.1f} % of the weights in its files are not used: extra.weight"]


def test_a_text_part_of_a_larger_model_is_measured_whole(tmp_path):
    """Nothing is dropped in silence: what the class has no place for is counted."""
    model = write(tmp_path, "llama")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    found = [note for note in notes(models.resolve(str(model.folder), _app())) if "not used" in note]
    assert len(found) == 1 and "model.layers.1" in found[0]


def _app():
    from quantlab.settings import AppSettings

    return AppSettings()

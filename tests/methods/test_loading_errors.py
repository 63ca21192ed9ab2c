"""What transformers raises while it configures or loads is told by its cause; what is our own fault stays loud."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from quantlab import models
from quantlab.errors import ModelError
from quantlab.methods import method_of, precision
from quantlab.models.configuration import cause
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import Model, ResolvedPlacement, silent
from quantlab.settings import AppSettings
from tests.tiny import letters, write

CPU = ResolvedPlacement("cpu", "float32")


@pytest.fixture
def model(tmp_path) -> Model:
    return write(tmp_path, "llama", letters())


def change(model: Model, **values) -> None:
    path = model.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def load(model: Model, name: str = "fp32"):
    chosen = precision(name)
    return method_of(chosen).load(model, chosen, CPU, silent)


@pytest.mark.parametrize("name", ["fp32", "nf4", "rtn-4"])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hidden_act": "swishy"}, "swishy"),
        ({"rope_scaling": {"rope_type": "su"}}, "su"),
        ({"hidden_size": -64}, "config.json"),
        ({"num_attention_heads": 3}, "config.json|sizes"),
        ({"vocab_size": "many"}, "vocab_size"),
        ({"model_type": "nothing-known"}, "nothing-known"),
        ({"model_type": "t5"}, "t5"),
        ({"rms_norm_eps": None}, "config.json|cannot be loaded"),
    ],
)
def test_a_bad_setting_is_told_by_file_and_value(model, values, said, name):
    change(model, **values)
    with pytest.raises(ModelError, match=said):
        loaded = load(model, name)
        loaded.start().forward([3, 4, 5])


def test_bad_settings_of_a_quantizer_are_told(model):
    from quantlab.methods.quantized_loading import load_quantized

    change(model, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": "x"})
    with pytest.raises(ModelError):
        load_quantized(models.resolve(str(model.folder), AppSettings()), CPU, silent)


def test_the_tokenizer_is_not_blamed_for_config_json(tmp_path):
    """Phi-3's first long-context checkpoints have a kind of scaling that transformers calls otherwise today."""
    model = write(tmp_path, "phi3", letters())
    change(
        model, rope_scaling={"type": "su", "long_factor": [1.0] * 8, "short_factor": [1.0] * 8}, rope_parameters=None
    )
    with pytest.raises(ModelError, match=r"config.json") as refused:
        load_tokenizer(model)
    assert "tokenizer" not in refused.value.what


def test_a_broken_tokenizer_is_still_called_one(model):
    (model.folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="tokenizer"):
        load_tokenizer(model)


def test_weights_of_another_shape_are_told(model):
    weights = load_file(model.folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    save_file(weights | {name: torch.zeros(3, 64)}, model.folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="other sizes"):
        load(model)


@pytest.mark.parametrize("name", ["fp32", "nf4", "int8", "rtn-4"])
def test_sizes_that_contradict_the_weights_are_told_where_they_are_quantized_too(model, name):
    """Quantizers take whatever comes, and the first product would break."""
    change(model, head_dim=8)
    with pytest.raises(ModelError, match=r"other sizes than its config.json says"):
        load(model, name)


def test_our_own_fault_stays_loud(model, monkeypatch):
    from quantlab.methods.rtn import quantizer

    def broken(*_args):
        return {}["nothing"]

    monkeypatch.setattr(quantizer, "linear_layers", lambda model: [("model.layers.0.mlp.up_proj", "x", None)])
    with pytest.raises(Exception) as raised:
        load(model, "rtn-4")
    assert not isinstance(raised.value, ModelError)


def test_a_cause_is_one_line_with_the_innermost_words():
    assert cause(ValueError("Class validation error for validator 'x':\n    ValueError: sizes (3) do not fit.")) == (
        "ValueError: sizes (3) do not fit"
    )
    assert cause(KeyError("full_attention")) == "KeyError 'full_attention'"
    assert cause(RuntimeError("")) == "RuntimeError"

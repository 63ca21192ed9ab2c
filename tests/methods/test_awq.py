"""AWQ: names, refusals, and the checkpoint that a build leaves."""

import json

import pytest
from safetensors.torch import load_file

from quantlab import models
from quantlab.errors import BadInput
from quantlab.methods import precision
from quantlab.methods.awq import AWQ, awq_precision
from quantlab.records import Checkpoint, TensorInfo, silent
from tests.loading import load, store, variant
from tests.methods.test_gptq import FLOAT32, built, greedy, stepwise


@pytest.mark.parametrize(("name", "size"), [("awq-4", 64), ("awq-4-g128", 128), ("awq-4-g32", 32)])
def test_the_group_size_is_read_from_the_name_and_written_into_it(name, size):
    assert precision(name) == awq_precision(size) == precision(awq_precision(size).name)
    assert precision(name).name == name and precision("awq-4-g64") == precision("awq-4")


def test_other_names_and_sizes_are_refused():
    assert AWQ.parse("awq-3") is AWQ.parse("awq-4-sym") is None
    with pytest.raises(BadInput, match="group size cannot be 48"):
        precision("awq-4-g48")


def test_what_it_does_not_take_is_refused():
    tensors = {"model.layers.0.mlp.up_proj.weight": TensorInfo((60, 64), "BF16")}
    assert "multiple of 8" in AWQ.refuses(precision("awq-4"), Checkpoint({"model_type": "llama"}, tensors, 0), "cpu")
    assert "architecture mamba" in AWQ.refuses(precision("awq-4"), Checkpoint({"model_type": "mamba"}, {}, 0), "cpu")
    # GPTQ takes it, AWQ's table of what stands before what does not.
    assert "starcoder2" in AWQ.refuses(precision("awq-4"), Checkpoint({"model_type": "starcoder2"}, {}, 0), "cpu")


@pytest.mark.slow
def test_the_checkpoint_holds_exactly_the_bytes_that_were_planned(llama):
    tensors = load_file(built(llama, "awq-4") / "model.safetensors")
    asked = (precision("awq-4"), FLOAT32, models.checkpoint(llama))
    computed = AWQ.layout(*asked).buffer_bytes  # in no file
    assert sum(tensor.nbytes for tensor in tensors.values()) + computed == AWQ.estimate(*asked)
    for key in [key for key in tensors if key.endswith(".qweight")]:
        layer = key.removesuffix(".qweight")
        stored = sum(tensor.nbytes for name, tensor in tensors.items() if name.rpartition(".")[0] == layer)
        assert stored == AWQ.weight_bytes(precision("awq-4"), *models.tensors(llama)[f"{layer}.weight"].shape)


@pytest.mark.slow
def test_plain_transformers_loads_it_and_gives_the_same_tokens(llama):
    loaded = load(llama, "awq-4", placement=FLOAT32)
    assert stepwise(loaded) == greedy(built(llama, "awq-4"))
    loaded.close()


@pytest.mark.slow
def test_what_was_done_is_written_down_and_shown(llama):
    config = json.loads((built(llama, "awq-4") / "config.json").read_text())["quantization_config"]
    told = {key: config[key] for key in ("quant_method", "bits", "group_size", "zero_point")}
    assert told == {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True}
    loaded = load(llama, "awq-4", placement=FLOAT32)
    assert loaded.facts.details["calibration"] == "8 windows of 64 tokens, bundled text"
    loaded.close()


@pytest.mark.slow
def test_a_kept_checkpoint_is_not_built_again(llama):
    first = store().get(variant(llama, "awq-4"), silent)
    again = store().get(variant(llama, "awq-4"), silent)
    assert not again.built_now and again.folder == first.folder

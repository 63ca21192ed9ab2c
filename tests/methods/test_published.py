"""How published checkpoints are named, and how they enter a comparison."""

from dataclasses import dataclass

import pytest

from quantlab.errors import BadInput
from quantlab.methods import PRECISIONS
from quantlab.methods.published import STORED, is_published, label, labels, precision_of, read
from quantlab.records import Checkpoint, TensorInfo

PLAIN = Checkpoint({"model_type": "llama"}, {"w.weight": TensorInfo((64, 64), "BF16")}, 8192)
QUANTIZED = Checkpoint(
    {"model_type": "llama", "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
    {"w.weight": TensorInfo((2048, 1), "U8"), "w.weight.absmax": TensorInfo((64,), "F32")},
    2304,
    "bitsandbytes",
)


@dataclass
class Spec:
    typed: str
    name: str
    pick: str | None
    label: str


SPECS = [
    Spec("owner/name-GPTQ", "owner/name-GPTQ", None, "name-GPTQ"),
    Spec("owner/name-GPTQ@main", "owner/name-GPTQ@main", None, "name-GPTQ"),
    Spec("owner/name-GGUF::q4_k_m", "owner/name-GGUF", "q4_k_m", "name-GGUF::q4_k_m"),
    Spec("./out/demo-gptq/", "./out/demo-gptq/", None, "demo-gptq"),
    Spec("model.gguf", "model.gguf", None, "model"),
    Spec("/data/model.gguf", "/data/model.gguf", None, "model"),
    Spec("C:\\models\\demo", "C:\\models\\demo", None, "demo"),
    Spec("demo::nf4", "demo", "nf4", "demo::nf4"),
    Spec("~/m", "~/m", None, "m"),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.typed)
def test_what_was_typed_is_read(spec):
    assert is_published(spec.typed)
    found = read(spec.typed)
    assert (found.name, found.pick, found.label) == (spec.name, spec.pick, spec.label)
    assert label(spec.typed) == spec.label


@pytest.mark.parametrize("name", [*PRECISIONS, "nf44", "rtn-4-g128-sym", ""])
def test_precisions_are_no_checkpoints(name):
    assert not is_published(name)


@pytest.mark.parametrize("typed", ["::nf4", "./x::", "  ::  "])
def test_half_a_name_is_refused(typed):
    with pytest.raises(BadInput, match="names no checkpoint"):
        read(typed)


def test_columns_that_would_be_called_alike_are_called_as_typed():
    assert labels(["fp32", "a/same", "b/same", "c/other"]) == {
        "fp32": "fp32",
        "a/same": "a/same",
        "b/same": "b/same",
        "c/other": "other",
    }
    assert labels(["nf4", "x/nf4"]) == {"nf4": "nf4", "x/nf4": "x/nf4"}


def test_original_weights_need_a_precision():
    chosen = precision_of(read("./m::nf4"), "m::nf4", PLAIN)
    assert (chosen.name, chosen.method, chosen.bits) == ("m::nf4", "bitsandbytes", PRECISIONS["nf4"].bits)
    with pytest.raises(BadInput, match="original weights"):
        precision_of(read("./m"), "m", PLAIN)
    with pytest.raises(BadInput, match="Unknown precision"):
        precision_of(read("./m::nf44"), "m", PLAIN)


def test_quantized_weights_come_as_they_are():
    chosen = precision_of(read("./m"), "m", QUANTIZED)
    assert (chosen.name, chosen.method) == ("m", STORED)
    assert 4 <= chosen.bits <= 6
    with pytest.raises(BadInput, match=r"quantized already \(bitsandbytes\)"):
        precision_of(read("./m::nf4"), "m", QUANTIZED)

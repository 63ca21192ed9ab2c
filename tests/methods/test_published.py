"""How published checkpoints are named, and how they enter a comparison."""

from dataclasses import dataclass

import pytest

from quantlab.errors import BadInput
from quantlab.methods import PRECISIONS
from quantlab.methods.published import STORED, check_there, is_published, label, labels, precision_of, read
from quantlab.records import Checkpoint, TensorInfo
from quantlab.settings import AppSettings

LOCAL = AppSettings(public=False)

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
    Spec("https://huggingface.co/owner/name-GPTQ", "owner/name-GPTQ", None, "name-GPTQ"),
    Spec("huggingface.co/owner/name-GPTQ/", "owner/name-GPTQ", None, "name-GPTQ"),
    Spec("https://hf.co/owner/name-GGUF?show=all::q4_k_m", "owner/name-GGUF", "q4_k_m", "name-GGUF::q4_k_m"),
    Spec("https://huggingface.co/owner/name/tree/v1", "owner/name@v1", None, "name"),
    Spec("https://huggingface.co/owner/name/blob/main/a/b.gguf", "owner/name@main", "a/b.gguf", "name::a/b.gguf"),
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


@pytest.mark.parametrize(
    "typed",
    [
        "https://example.org/owner/name",
        "s3://bucket/model",
        "https://huggingface.co/datasets/owner/name",
        "https://huggingface.co/owner/name/tree/main/folder",
        "https://huggingface.co/owner/name/blob/main/model.safetensors",
        "https://huggingface.co/owner",
    ],
)
def test_an_address_that_is_no_models_page_is_refused(typed):
    with pytest.raises(BadInput, match=r"is an address.* Hub id \(owner/name\)"):
        read(f"{typed}::nf4")


@pytest.fixture
def folders(tmp_path):
    """Two checkpoints of GGUF files and one in a folder below."""
    for name in ("llama-GGUF/llama-Q4_K_M.gguf", "llama-GGUF/llama-Q8_0.gguf", "below/mistral-GPTQ/config.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "says", "near"),
    [
        ("{}/lama-GGUF", "no folder", "llama-GGUF"),
        ("{}/lama-GGUF/llama-Q8_0.gguf", "no file", "llama-GGUF"),
        ("{}/llama-GGUF/llama-Q8.gguf", "no file", "llama-Q8_0.gguf"),
        ("{}/below/mistral-gptq", "no folder", "mistral-GPTQ"),
        ("{}/llama-GGUF::llama-Q8_1.gguf", "has no GGUF file 'llama-Q8_1.gguf'", "llama-Q8_0.gguf"),
        ("{}/llama-GGUF::q5_k_m", "has no GGUF file 'q5_k_m'", "llama-Q4_K_M.gguf"),
        ("{}/llama-GGUF", "holds several GGUF files", "llama-GGUF::llama-Q4_K_M.gguf"),
        ("llama-GGUF/llama-Q8.gguf", "no file", "llama-Q8_0.gguf"),
    ],
)
def test_a_file_or_a_pick_that_does_not_exist_is_refused_with_the_near_names(folders, monkeypatch, typed, says, near):
    monkeypatch.chdir(folders)
    with pytest.raises(BadInput, match=says) as refused:
        check_there(read(typed.format(folders)), LOCAL)
    assert near in refused.value.advice
    check_there(read(typed.format(folders)), AppSettings(public=True))  # there no folder of the server is told of


def test_what_is_there_or_on_the_hub_is_let_pass(folders, monkeypatch):
    monkeypatch.chdir(folders)
    for typed in ("llama-GGUF::q8_0", "./llama-GGUF/llama-Q8_0.gguf", "owner/name", "owner/name-GGUF::q4_k_m",
                  "demo::nf4", "shape:bench-100m::nf4", "below/mistral-GPTQ::nf4"):  # fmt: skip
        check_there(read(typed), LOCAL)


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

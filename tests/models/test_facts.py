"""What is said of a model before it loads: of each kind of source, without its weights and without a network."""

import json
import math
import socket
from types import SimpleNamespace

import pytest
from gguf import GGUFReader

from quantlab import models
from quantlab.models import architecture
from quantlab.models.facts import facts, kind_alone, parameters
from quantlab.records import Checkpoint, ModelFacts, TensorInfo
from quantlab.settings import AppSettings
from tests.gguf_files import make

LOCAL = AppSettings(public=False)


@pytest.fixture
def no_network(monkeypatch):
    def refused(*_):
        raise AssertionError("a network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


def by_hand(folder) -> SimpleNamespace:
    """The same facts out of the files, in plain loops."""
    content = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    shapes = [entry["shape"] for entry in header.values()]
    ends = [entry["data_offsets"][1] for entry in header.values()]
    return SimpleNamespace(parameters=sum(map(math.prod, shapes)), nbytes=max(ends))


def test_of_a_folder(make_folder, model_files, no_network):
    folder = make_folder(model_files)
    config, held = json.loads(model_files["config.json"]), by_hand(folder)
    found = facts(str(folder), models.peek_main(str(folder), LOCAL), LOCAL)
    assert found == ModelFacts(
        "folder",
        config["architectures"][0],
        held.parameters,
        config["num_hidden_layers"],
        config["max_position_embeddings"],
        held.nbytes,
    )


@pytest.mark.slow
def test_of_a_gguf_file_it_is_what_the_file_holds(tmp_path, no_network):
    file = make(tmp_path, "Q8_0")
    config = json.loads((tmp_path / "original" / "config.json").read_text())
    app = AppSettings(public=False, cache_folder=tmp_path / "cache")
    found = facts(str(file), models.peek_main(str(file), app), app)
    assert (found.kind, found.layers, found.context) == (
        "gguf",
        config["num_hidden_layers"],
        config["max_position_embeddings"],
    )
    weights = sum(math.prod(map(int, tensor.shape)) for tensor in GGUFReader(file).tensors)
    assert found.parameters == weights
    assert found.nbytes == sum(int(tensor.n_bytes) for tensor in GGUFReader(file).tensors) < file.stat().st_size


def test_packed_tensors_hide_the_number_of_weights(make_folder, quantized_files):
    settings = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}}
    folder = make_folder(quantized_files("gptq", settings))
    found = facts(str(folder), models.peek_main(str(folder), LOCAL), LOCAL)
    assert (found.parameters, found.stored_as) == (None, "gptq") and found.layers == 2


@pytest.mark.parametrize("name", ["num_hidden_layers", "n_layer", "n_layers", "num_layers"])
def test_layers_go_by_several_names_and_lie_in_the_part_that_writes(name):
    assert architecture.layer_count({name: 7}) == architecture.layer_count({"text_config": {name: 7}}) == 7
    assert architecture.layer_count({name: True}) is architecture.layer_count({}) is None


def test_parameters_are_counted_as_the_shapes_multiply():
    tensors = {"a": TensorInfo((3, 4), "F32"), "b": TensorInfo((5,), "F32"), "c": TensorInfo((), "F32")}
    assert parameters(Checkpoint({}, tensors, 0)) == 3 * 4 + 5 + 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("demo", "demo"),
        ("shape:Llama-2-7B", "shape"),
        ("someone/something", "hub"),
        ("someone/something::q4_k_m", "hub"),
        ("hello world", None),
        ("./nothing", None),
        ("/nothing/at/all", None),
        ("nothing.gguf/", None),
        ("", None),
        ("a" * 5_000, None),
        ("\0", None),
    ],
)
def test_a_name_alone_is_looked_for_on_this_disk_and_nowhere_else(no_network, name, kind):
    assert kind_alone(name, LOCAL).kind == kind


def test_in_public_it_is_the_same_whether_a_path_exists_or_not(make_folder, model_files, no_network):
    public = AppSettings(public=True)
    there = make_folder(model_files)
    names = (str(there), str(there / "model.safetensors"), "/etc", "/nothing/at/all", "hello world")
    assert {kind_alone(name, public) for name in names} == {ModelFacts()}

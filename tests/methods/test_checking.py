"""A build of GPTQ or AWQ is held against its original: what is missing, changed or another layer's is told."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from quantlab.errors import ModelError
from quantlab.methods.gptq.checking import FARTHEST, check
from quantlab.records import Model
from tests.methods.test_gptq import built

#: All of them hold what gptqmodel built.
pytestmark = pytest.mark.slow

UP = "model.layers.1.mlp.up_proj"
NORM, EMBEDDINGS = "model.layers.0.input_layernorm.weight", "model.embed_tokens.weight"


@pytest.fixture(scope="module", params=["gptq-4", "gptq-2", "awq-4"])
def name(request) -> str:
    return request.param


@pytest.fixture
def folder(llama: Model, name: str, tmp_path: Path) -> Path:
    shutil.copytree(built(llama, name), tmp_path / "built")
    return tmp_path / "built"


def changed(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def checked(llama: Model, folder: Path, name: str) -> dict[str, float]:
    return check(llama.folder, folder, name.partition("-")[0], "a model")


def test_what_was_built_is_near(llama, folder, name):
    distances = checked(llama, folder, name)
    assert len(distances) == 14 and all(0 < far < FARTHEST[int(name[-1])] for far in distances.values())


def test_a_missing_weight_is_told(llama, folder, name):
    changed(folder, lambda tensors: tensors.pop(NORM))
    with pytest.raises(ModelError, match=f"{NORM} is missing"):
        checked(llama, folder, name)


def test_another_weight_in_the_place_of_one_left_alone_is_told(llama, folder, name):
    def swap(tensors):
        tensors[EMBEDDINGS] = tensors[EMBEDDINGS].flip(0).contiguous()

    changed(folder, swap)
    with pytest.raises(ModelError, match=f"{EMBEDDINGS} was not to be quantized"):
        checked(llama, folder, name)


def test_codes_of_another_layer_are_told(llama, folder, name):
    def swap(tensors):
        for key in ("qweight", "qzeros", "scales"):
            other = UP.replace("layers.1", "layers.0")
            tensors[f"{UP}.{key}"] = tensors[f"{other}.{key}"].clone()

    changed(folder, swap)
    with pytest.raises(ModelError, match=f"{UP} is .* away from its original"):
        checked(llama, folder, name)


def test_a_head_of_its_own_is_not_taken_for_the_embeddings(llama, folder, tmp_path, name):
    source = tmp_path / "source"
    shutil.copytree(llama.folder, source)
    tensors = load_file(source / "model.safetensors")
    tensors["lm_head.weight"] = tensors[EMBEDDINGS] + 1
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lm_head\.weight is missing"):
        check(source, folder, name.partition("-")[0], "a model")
    tensors["lm_head.weight"] = tensors[EMBEDDINGS].clone()
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    assert len(check(source, folder, name.partition("-")[0], "a model")) == 14


def test_numbers_that_are_none_are_never_near(llama, folder, name):
    def spoil(tensors):
        tensors[f"{UP}.scales"] = torch.full_like(tensors[f"{UP}.scales"], float("nan"))

    changed(folder, spoil)
    with pytest.raises(ModelError, match=f"{UP} is nan times"):
        checked(llama, folder, name)


def test_the_settings_of_the_folder_are_believed(llama, folder, name):
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["bits"] = 8
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="does not have the sizes of 8 bits"):
        checked(llama, folder, name)

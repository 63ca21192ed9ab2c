"""Shapes as folders."""

import os

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from quantlab import models
from quantlab.errors import Stopped
from quantlab.models import materialize
from quantlab.records import Model, silent
from quantlab.settings import AppSettings
from tests import tiny

SMALL = "shape:bench-100m"


def test_a_folder_is_its_own(tmp_path):
    model = tiny.write(tmp_path, "llama")
    assert models.materialized(model, tmp_path / "work", silent) == model.folder
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("shard", [10**10, 5 * 10**7])
def test_a_shape_becomes_a_folder_that_transformers_loads(tmp_path, monkeypatch, shard):
    monkeypatch.setattr(materialize, "SHARD_BYTES", shard)
    shape = models.resolve(SMALL, AppSettings())
    told = []
    folder = models.materialized(shape, tmp_path, lambda *step: told.append(step))
    files = sorted(folder.glob("*.safetensors"))
    assert (len(files) == 1) == (shard == 10**10)
    written = Model("written", "folder", folder)
    assert models.tensors(written) == models.tensors(shape)
    assert models.resolve(str(folder), AppSettings()).folder == folder
    assert [done for done, _, _ in told] == list(range(len(models.tensors(shape))))
    lazy = models.lazy_state_dict(shape, "bfloat16")
    tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
    name = next(iter(lazy))
    assert torch.equal(tensors[name], lazy[name][:])
    network = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(network.get_parameter(name), lazy[name][:])


def test_writing_a_shape_can_be_stopped(tmp_path):
    def stop(done: int, _total: int, _what: str) -> None:
        if done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        models.materialized(Model(SMALL, "shape", None), tmp_path, stop)


def test_beside_a_pipe_the_files_alone_are_given(tmp_path):
    """gptqmodel opens quantize_config.json, which as a pipe has no end: the build waited for ever."""
    model = tiny.write(tmp_path / "m", "llama")
    (model.folder / "logs").mkdir()
    os.mkfifo(model.folder / "quantize_config.json")
    folder = models.materialized(model, tmp_path / "work", silent)
    assert folder.parent == tmp_path / "work" and all(file.is_file() for file in folder.iterdir())
    files = {file.name for file in model.folder.iterdir() if file.is_file()}
    assert {file.name for file in folder.iterdir()} == files and "quantize_config.json" not in files
    assert models.tensors(Model("linked", "folder", folder)) == models.tensors(model)

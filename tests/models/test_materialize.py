"""Shapes as folders."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
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


@pytest.mark.parametrize(
    "key", ["attn_implementation", "_attn_implementation", "experts_implementation", "use_kernels"]
)
@pytest.mark.parametrize("file", ["config.json", "generation_config.json", "tokenizer_config.json"])
def test_what_chooses_code_is_kept_from_the_tools_of_others(tmp_path, key, file):
    """gptqmodel reads a folder by itself, and transformers would ask for the kernel that its settings name."""
    model = tiny.write(tmp_path / "model", "llama", tiny.letters())
    path = model.folder / file
    settings = json.loads(path.read_text())
    path.write_text(
        json.dumps(settings | {key: "owner/kernel", "text_config": {key: "owner/kernel", "hidden_size": 64}})
    )
    folder = models.materialized(model, tmp_path / "work", silent)
    assert "owner/kernel" in path.read_text()
    assert not any("owner/kernel" in file.read_text() for file in folder.glob("*.json"))
    assert json.loads((folder / file).read_text()) == settings | {"text_config": {"hidden_size": 64}}
    assert (folder / "model.safetensors").resolve() == model.folder / "model.safetensors"


@pytest.mark.slow
def test_a_kernel_that_a_configuration_names_is_not_asked_for_by_a_build(tmp_path, monkeypatch):
    from quantlab.methods import METHODS, precision
    from quantlab.records import Calibration, ResolvedPlacement, Variant

    pytest.importorskip("gptqmodel")
    package = tmp_path / "packages" / "kernels"
    package.mkdir(parents=True)
    asked = tmp_path / "asked"
    (package / "__init__.py").write_text(
        f"__version__ = '0.12.0'\ndef get_kernel(name, **_):\n    open({str(asked)!r}, 'a').write(name)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    model = tiny.write(tmp_path / "model", "llama", tiny.letters())
    path = model.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"attn_implementation": "owner/kernel"}))
    variant = Variant(model, precision("gptq-4"), ResolvedPlacement("cpu", "float32"), Calibration(None, "", 4, 32))
    (tmp_path / "built").mkdir()
    METHODS["gptq"].build(variant, tmp_path / "built", silent)
    assert (tmp_path / "built" / "model.safetensors").is_file() and not asked.exists()
    assert "owner/kernel" not in (tmp_path / "built" / "config.json").read_text()


def test_settings_of_a_quantized_copy_are_kept_from_the_tools_of_others(tmp_path):
    """gptqmodel would take original weights for codes, and a head of its own for the embeddings."""
    model = tiny.write(tmp_path / "model", "llama")
    path, file = model.folder / "config.json", model.folder / "model.safetensors"
    plain = json.loads(path.read_text())
    del plain["tie_word_embeddings"]
    path.write_text(json.dumps(plain | {"quantization_config": {"quant_method": "gptq", "bits": 4}}))
    tensors = load_file(file)
    save_file(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"] + 1}, file, {"format": "pt"})
    folder = models.materialized(model, tmp_path / "work", silent)
    assert json.loads((folder / "config.json").read_text()) == plain | {"tie_word_embeddings": False}

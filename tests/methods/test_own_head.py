"""A head that is no copy of the embeddings is kept by every method, whatever config.json says of it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from quantlab import models
from quantlab.methods import METHODS, precision
from quantlab.models.heads import with_its_own_head
from quantlab.models.materialize import materialized
from quantlab.records import Model, Placement, silent
from quantlab.runtime.placement import resolve
from tests.loading import load
from tests.tiny import letters, write

CPU = Placement("cpu", "float32")
PROMPT = [1, *range(40, 52)]


@pytest.fixture(scope="module")
def conflict(tmp_path_factory) -> Model:
    """Untied weights, and a configuration that calls them tied."""
    folder = tmp_path_factory.mktemp("conflict")
    model = write(folder, "llama", letters())
    weights = load_file(folder / "model.safetensors")
    head = torch.randn(weights["model.embed_tokens.weight"].shape, generator=torch.Generator().manual_seed(7))
    save_file(weights | {"lm_head.weight": head * 0.4}, folder / "model.safetensors", {"format": "pt"})
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"]
    return model


@pytest.mark.parametrize("name", ["nf4", "rtn-8", "gptq-8", "awq-4", "q8_0", "hqq-4"])
def test_every_method_keeps_it(conflict, name):
    if METHODS[precision(name).method].unavailable("cpu"):
        pytest.skip("not installed here")
    whole, ours = load(conflict, "fp32", placement=CPU), load(conflict, name, placement=CPU)
    if ours.network is not None:
        head = load_file(conflict.folder / "model.safetensors")["lm_head.weight"]
        assert torch.equal(ours.network.get_output_embeddings().weight.float(), head)
    # With other embeddings for a head the tokens are others altogether.
    expected, got = (it.start().forward(PROMPT).float().log_softmax(-1) for it in (whole, ours))
    assert name not in ("rtn-8", "gptq-8", "q8_0") or float((expected.exp() * (expected - got)).sum()) < 0.02
    whole.close()
    ours.close()


def test_it_is_planned_for(conflict):
    chosen = precision("rtn-8")
    loaded = load(conflict, "rtn-8", placement=CPU)
    assert METHODS["rtn"].estimate(chosen, resolve(CPU), models.checkpoint(conflict)) == pytest.approx(
        loaded.storage().total, rel=0.01
    )
    loaded.close()


def test_a_copy_of_the_embeddings_stays_tied(tmp_path):
    model = write(tmp_path, "llama", letters())
    weights = load_file(tmp_path / "model.safetensors")
    head = weights["model.embed_tokens.weight"].clone()
    save_file(weights | {"lm_head.weight": head}, tmp_path / "model.safetensors", {"format": "pt"})
    assert models.config(model)["tie_word_embeddings"] is True
    assert materialized(model, tmp_path / "work", silent) == tmp_path


def test_other_programs_are_given_a_configuration_that_fits(conflict, tmp_path):
    folder = materialized(conflict, tmp_path, silent)
    assert folder != conflict.folder
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is False
    assert (folder / "model.safetensors").resolve() == (conflict.folder / "model.safetensors").resolve()


@pytest.mark.parametrize("flags", [{}, {"text_config": {"tie_word_embeddings": True}}, {"tie_word_embeddings": True}])
@pytest.mark.parametrize("head", ["lm_head.weight", "embed_out.weight"])
def test_a_configuration_that_says_nothing_may_mean_tied(conflict, tmp_path, flags, head):
    """Gemma's says so by its kind alone, and configurations of several parts say it inside."""
    names = {"lm_head.weight": head}
    weights = {names.get(name, name): it for name, it in load_file(conflict.folder / "model.safetensors").items()}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    tensors = models.folders.read_tensors(tmp_path, "a model")
    found = with_its_own_head({"model_type": "gemma"} | flags, tmp_path, tensors)
    assert found["tie_word_embeddings"] is False
    assert "text_config" not in flags or found["text_config"]["tie_word_embeddings"] is False
    save_file(weights | {head: weights["model.embed_tokens.weight"].clone()}, tmp_path / "model.safetensors")
    assert with_its_own_head(flags, tmp_path, tensors) == flags

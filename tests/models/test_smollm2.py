"""SmolLM2 without a Hub: made once from the package, from the Hub where its cache has it, refused in words."""

import hashlib
import json
import threading
from pathlib import Path

import pytest
import torch

from quantlab import models
from quantlab.errors import ModelError, Stopped
from quantlab.models import smollm2
from quantlab.models.quiet import watching
from quantlab.records import Model, silent
from quantlab.settings import AppSettings

NO_PACKAGE = pytest.mark.skipif(smollm2.packaged() is None, reason=f"the package is not here: {smollm2.INSTALL}")


@pytest.fixture
def app(tmp_path, monkeypatch) -> AppSettings:
    monkeypatch.setattr(smollm2.hub, "reachable", lambda patience_s: False)
    monkeypatch.setattr(smollm2.hub, "in_cache", lambda repo, commit: False)
    return AppSettings(cache_folder=tmp_path)


@pytest.fixture(scope="module")
def made() -> Model:
    """Made once for all tests that only read it, in the cache folder of the whole session."""
    if smollm2.packaged() is None:
        pytest.skip("the package is not here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smollm2.hub, "reachable", lambda patience_s: False)
        patch.setattr(smollm2.hub, "in_cache", lambda repo, commit: False)
        return models.resolve("smollm2", AppSettings())


@pytest.mark.slow
def test_it_answers_in_words_and_says_where_its_weights_are_from(made):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(made.folder)
    plain = AutoModelForCausalLM.from_pretrained(made.folder, dtype=torch.float32)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = plain.generate(**ids, do_sample=False, max_new_tokens=12)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(answer, skip_special_tokens=True).startswith("The capital of France is Paris")
    assert (made.name, made.kind) == ("smollm2", "package") and "Q4_1" in made.caution
    assert plain.config.model_type == "llama" and sum(p.numel() for p in plain.parameters()) == 134_515_008


@pytest.mark.slow
def test_its_weights_lie_on_the_grid_of_the_package(made):
    """Taken out of 4 bits by the gguf package's own reader."""
    gguf = pytest.importorskip("gguf")
    from safetensors.torch import load_file

    held = load_file(made.folder / "model.safetensors")
    tensors = {t.name: t for t in gguf.GGUFReader(str(smollm2.packaged())).tensors}
    for ours, theirs in (("mlp.down_proj", "ffn_down"), ("self_attn.v_proj", "attn_v")):
        tensor = tensors[f"blk.7.{theirs}.weight"]
        expected = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type)).bfloat16()
        assert torch.equal(held[f"model.layers.7.{ours}.weight"], expected)


@pytest.mark.slow
def test_what_is_promised_before_is_what_there_is_afterwards(made, app):
    if smollm2.packaged() is None:
        pytest.skip("the package is not here")
    before, after = models.peek("smollm2", app), models.checkpoint(made)
    assert before.nbytes == after.nbytes and before.stored_as is None is after.stored_as
    assert {n: t.shape for n, t in before.tensors.items()} == {n: t.shape for n, t in after.tensors.items()}
    assert "quantization_config" not in json.loads((made.folder / "config.json").read_text())


@NO_PACKAGE
def test_a_stop_leaves_nothing_and_a_damaged_copy_is_made_anew(app, monkeypatch):
    def stopped(done: int, total: int, what: str) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        models.resolve("smollm2", app, stopped)
    kept = app.cache_folder / ".models"
    assert not [it for it in kept.iterdir() if it.is_dir()]
    made = []

    def quick(file: Path, folder: Path, progress) -> None:
        made.append(folder)
        folder.mkdir(parents=True)

    monkeypatch.setattr(smollm2, "_convert", quick)
    half = kept / f"{smollm2._place(app).name}~0123"
    half.mkdir()
    smollm2._place(app).mkdir()
    smollm2.resolve(app)
    assert len(made) == 1 and not half.exists(), "what a killed process left is gone"


def test_the_hubs_own_weights_go_before_the_packages(app, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(smollm2.hub, "in_cache", lambda repo, commit: True)

    (tmp_path / "model.safetensors").write_bytes(b"the published weights")
    monkeypatch.setattr(smollm2, "SHA256", hashlib.sha256(b"the published weights").hexdigest())

    def download(repo, revision, progress):
        asked.append((repo, revision))
        return smollm2.hub.Downloaded(tmp_path, revision)

    monkeypatch.setattr(smollm2.hub, "download", download)
    found = smollm2.resolve(app, silent)
    assert (found.name, found.kind, found.revision, found.caution) == ("smollm2", "hub", smollm2.COMMIT, None)
    assert asked == [(smollm2.REPO, smollm2.COMMIT)]


def test_without_hub_and_package_it_is_said_how_to_get_it(app, monkeypatch):
    monkeypatch.setattr(smollm2, "packaged", lambda: None)
    with pytest.raises(ModelError, match="not on this machine") as refused:
        models.resolve("smollm2", app)
    assert smollm2.INSTALL in refused.value.advice
    assert [choice.name for choice in models.known_models(app)][:2] == ["demo", "smollm2"]


@NO_PACKAGE
def test_it_is_the_first_choice_where_it_is(app):
    pytest.importorskip("gguf")
    assert [choice.name for choice in models.known_models(app)][:2] == ["smollm2", "demo"]


def test_two_threads_inside_put_back_what_was_there_before():
    """Whichever leaves first: the other's progress goes on, and the terminal is as it was in the end."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    told: dict[str, list[int]] = {"a": [], "b": []}
    steps = threading.Barrier(2, timeout=20)

    def work(name: str, leaves_first: bool) -> None:
        with watching(lambda done, total, what: told[name].append(done)):
            steps.wait()
            list(logging.tqdm(range(2)))
            steps.wait()
            if not leaves_first:
                steps.wait()
                list(logging.tqdm(range(3)))
        if leaves_first:
            steps.wait()

    for first in ("a", "b"):
        threads = [threading.Thread(target=work, args=(name, name == first)) for name in told]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert told == {"a": [0, 1, 2, 0, 1, 2, 0, 1, 2, 3], "b": [0, 1, 2, 0, 1, 2, 3, 0, 1, 2]}
    assert logging.get_verbosity() == before and logging.set_tqdm_hook(None) is None

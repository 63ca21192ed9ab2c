"""Downloads against a stand-in Hub, over real HTTP."""

import pytest

from quantlab import models
from quantlab.models import hub as hub_module
from tests.models.conftest import REPO, WEIGHTS
from tests.models.hub_server import COMMIT

#: What a process of its own has to do with downloads is the business of test_hub_transfer.py.
pytestmark = pytest.mark.usefixtures("in_this_process")


def test_a_model_is_fetched_with_progress_and_nothing_else_is(filled, local, model_files):
    filled.behaviour.pause_s = 0.1
    told = []
    model = models.resolve(REPO, local, lambda *progress: told.append(progress))

    assert (model.name, model.kind, model.revision) == (REPO, "hub", COMMIT)
    assert {file.name: file.read_bytes() for file in model.folder.iterdir()} == model_files
    totals = {total for _, total, _ in told if total}
    done = [done for done, total, _ in told if total]
    assert totals == {len(model_files[WEIGHTS])}
    assert done == sorted(done) and len(set(done)) > 3 and done[-1] == len(model_files[WEIGHTS])
    assert all(REPO in what for _, _, what in told)
    for name in ("pytorch_model.bin", "consolidated.safetensors", "onnx/model.safetensors", ".py", "README.md"):
        assert not [request for request in filled.requests if request.path.endswith(name)]
    assert models.config(model)["model_type"] == "llama"
    assert models.tensors(model)["model.embed_tokens.weight"].shape == (2048, 64)


def test_the_library_finds_the_files_in_its_own_cache(filled, local):
    from huggingface_hub import hf_hub_download, scan_cache_dir, try_to_load_from_cache

    model = models.resolve(REPO, local)
    cache = model.folder.parents[2]
    assert try_to_load_from_cache(REPO, WEIGHTS, cache_dir=cache) == str(model.folder / WEIGHTS)
    asked = len(filled.requests)
    assert hf_hub_download(REPO, WEIGHTS, revision=COMMIT, cache_dir=cache) == str(model.folder / WEIGHTS)
    assert len(filled.requests) == asked
    (repo,) = scan_cache_dir(cache).repos
    (revision,) = repo.revisions
    assert repo.repo_id == REPO and revision.commit_hash == COMMIT and revision.refs == {"main"}


def test_a_pinned_model_in_the_cache_asks_nobody(filled, local):
    first = models.resolve(f"{REPO}@{COMMIT}", local)
    filled.requests.clear()
    assert models.resolve(f"{REPO}@{COMMIT}", local) == first
    assert filled.requests == []


def test_an_unpinned_model_in_the_cache_only_asks_for_the_newest_commit(filled, local):
    first = models.resolve(REPO, local)
    filled.requests.clear()
    assert models.resolve(REPO, local) == first
    assert [request.path for request in filled.requests] == [f"/api/models/{REPO}"]


def test_a_cached_model_works_when_the_hub_is_gone(filled, local, monkeypatch):
    first = models.resolve(REPO, local)
    filled.close()
    assert models.resolve(REPO, local) == first
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert models.resolve(REPO, local) == first


def test_a_new_commit_is_fetched_but_equal_files_are_not(filled, local, model_files):
    models.resolve(REPO, local)
    filled.commit = "f" * 40
    filled.repos[REPO]["generation_config.json"] = b"{}"
    filled.requests.clear()
    model = models.resolve(REPO, local)
    assert model.revision == "f" * 40
    assert (model.folder / WEIGHTS).read_bytes() == model_files[WEIGHTS]
    assert filled.bodies() == []
    assert filled.asked("generation_config.json")


def test_all_files_are_of_one_commit_also_where_the_branch_moves_meanwhile(filled, local, model_files):
    newer = model_files | {WEIGHTS: model_files[WEIGHTS][:-4] + b"1234", "config.json": b"{}", "tokenizer.json": b"{}"}

    def move(done: int, total: int, what: str) -> None:
        if what.startswith("Reading") and filled.commit == COMMIT:
            filled.move("e" * 40, REPO, newer)

    model = models.resolve(REPO, local, move)
    assert filled.commit == "e" * 40 and model.revision == COMMIT
    assert {file.name: file.read_bytes() for file in model.folder.iterdir()} == model_files


def test_shards_are_those_of_the_index(hub, local, sharded_files, model_files):
    hub.repos[REPO] = sharded_files | {"consolidated.safetensors": model_files[WEIGHTS]}
    model = models.resolve(REPO, local)
    assert set(models.tensors(model)) == set(models.shapes.shape_tensors(models.config(model)))
    assert not hub.asked("consolidated.safetensors")


@pytest.mark.parametrize("files", ["model_files", "sharded_files"])
def test_sizes_are_known_before_the_weights_are_fetched(hub, local, files, request):
    hub.repos[REPO] = request.getfixturevalue(files)
    checkpoint = models.peek(REPO, local)
    assert all(body.range is not None for body in hub.bodies())
    model = models.resolve(REPO, local)
    assert checkpoint == models.checkpoint(model) and checkpoint.stored_as is None
    assert (checkpoint.config, checkpoint.tensors) == (models.config(model), models.tensors(model))
    hub.requests.clear()
    assert models.peek(f"{REPO}@{COMMIT}", local) == checkpoint
    assert hub.requests == []


def test_quantized_weights_are_fetched_and_their_way_of_storing_is_known_before(filled, local, quantized_files):
    filled.repos[REPO] |= quantized_files("gptq", {"quantization_config": {"quant_method": "gptq", "bits": 4}})
    assert models.peek(REPO, local).stored_as == "gptq"
    assert all(body.range is not None for body in filled.bodies())
    assert models.checkpoint(models.resolve(REPO, local)).stored_as == "gptq"


def test_in_public_an_allowed_model_is_fetched_at_its_revision(filled):
    app = models.AppSettings(public=True, allowed_models=f"demo,{REPO}@{COMMIT}")
    assert [choice.name for choice in models.known_models(app)] == ["demo", REPO]
    assert models.resolve(REPO, app).revision == COMMIT
    assert hub_module.download(REPO, COMMIT).commit == COMMIT

"""GGUF files as models: on this disk and on the Hub, one or several."""

import math

import pytest

from quantlab import models
from quantlab.errors import BadInput, ModelError
from quantlab.models.gguf.files import choose, part_files, parts
from quantlab.models.gguf.header import BLOCKS
from quantlab.models.hub import download
from quantlab.settings import AppSettings
from tests import gguf_files
from tests.models.conftest import REPO
from tests.models.gguf_making import VOCABULARY, write
from tests.models.hub_server import COMMIT

LADDER = ["m-Q8_0.gguf", "m-Q4_K_M.gguf", "m-IQ4_K_M.gguf", "m-Q4_K_S.gguf"]


@pytest.mark.parametrize(
    ("pick", "chosen"),
    [
        ("q8_0", "m-Q8_0.gguf"),
        ("Q4_K_M", "m-Q4_K_M.gguf"),
        ("iq4_k_m", "m-IQ4_K_M.gguf"),
        ("M-Q4_K_S.GGUF", "m-Q4_K_S.gguf"),
        ("m-q4_k_s", "m-Q4_K_S.gguf"),
        ("low/m-f16.gguf", "low/m-F16.gguf"),
        ("f16", "low/m-F16.gguf"),
    ],
)
def test_a_file_is_picked_by_its_name_or_its_label(pick, chosen):
    assert choose([*LADDER, "low/m-F16.gguf", "README.md"], pick, "m") == chosen


def test_one_file_needs_no_pick():
    assert choose(["a.gguf", "a.txt", "mmproj-a-f16.gguf"], None, "m") == "a.gguf"
    assert choose(["mmproj-a-f16.gguf"], None, "m") == "mmproj-a-f16.gguf"


SPLIT = ["b-q4_0-00001-of-00002.gguf", "b-q4_0-00002-of-00002.gguf"]


@pytest.mark.parametrize("pick", [None, "q4_0", "b-q4_0-00002-of-00002", SPLIT[1], "B-Q4_0-00001-of-00002.gguf"])
def test_a_split_file_is_meant_by_its_first_part(pick):
    assert choose(SPLIT, pick, "m") == SPLIT[0]
    assert choose([*SPLIT, "c-q8_0.gguf"], pick or "q4_0", "m") == SPLIT[0]
    assert parts(SPLIT[0]) == tuple(SPLIT) and parts("a.gguf") == ("a.gguf",)


@pytest.mark.parametrize(
    ("names", "pick", "message"),
    [
        (LADDER, None, "several GGUF files: m-IQ4_K_M.gguf, m-Q4_K_M.gguf, m-Q4_K_S.gguf, m-Q8_0.gguf"),
        (LADDER, "q5_k_m", "no GGUF file 'q5_k_m'"),
        (LADDER, "q4_k", "no GGUF file 'q4_k'"),
        (["a-q4_0.gguf", "b-q4_0.gguf"], "q4_0", "fits several GGUF files of 'm': a-q4_0.gguf, b-q4_0.gguf"),
        ([*SPLIT, "a.gguf"], None, "several GGUF files: a.gguf, b-q4_0-00001-of-00002.gguf"),
    ],
)
def test_what_is_ambiguous_missing_or_split_is_told_with_what_there_is(names, pick, message):
    with pytest.raises(ModelError, match=message) as caught:
        choose(names, pick, "m")
    assert caught.value.advice
    if pick is None and len(names) == len(LADDER):
        assert "m::m-IQ4_K_M.gguf" in caught.value.advice


@pytest.fixture
def folder(tmp_path):
    (folder := tmp_path / "ladder").mkdir()
    return folder


def test_a_file_is_a_model_by_its_path_or_its_folder(folder, local):
    write(file := folder / "m-Q4_K_M.gguf")
    model = models.resolve(str(file), local)
    assert (model.kind, model.gguf, model.folder) == ("folder", file, folder)
    assert models.resolve(str(folder), local).gguf == file
    checkpoint = models.checkpoint(model)
    assert checkpoint == models.peek(str(folder), local) == models.peek(str(folder), local, "q4_k_m")
    assert checkpoint.stored_as == "gguf" and dict(checkpoint.tensors) == models.tensors(model)
    assert checkpoint.nbytes == 2 * VOCABULARY * 256 + 4 * 144 + 6 * 210 + 4 * 3
    expected = {
        "model_type": "llama",
        "max_position_embeddings": 512,
        "hidden_size": 256,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 512,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": True,
    }
    assert checkpoint.config == models.config(model) == expected


def test_one_of_several_files_is_picked(folder, local):
    for name in ("m-Q4_K_M.gguf", "m-Q8_0.gguf"):
        write(folder / name)
    with pytest.raises(ModelError, match="several GGUF files"):
        models.resolve(str(folder), local)
    assert models.resolve(str(folder), local, pick="q8_0").gguf.name == "m-Q8_0.gguf"


def test_beside_safetensors_only_a_whole_name_means_the_gguf(make_folder, model_files, local):
    folder = make_folder(model_files)
    write(folder / "m-Q8_0.gguf")
    assert models.resolve(str(folder), local).gguf is None
    assert models.resolve(str(folder), local, pick="q8_0").gguf is None, "a precision of the original weights"
    assert models.resolve(str(folder), local, pick="m-q8_0.gguf").gguf == folder / "m-Q8_0.gguf"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"parts": 2}, "one part of a model"), ({"kind": "adapter"}, "type adapter"), ({"kind": "mmproj"}, "type mmproj")],
)
def test_what_is_no_whole_language_model_is_refused(folder, local, options, message):
    write(file := folder / "m.gguf", **options)
    with pytest.raises(ModelError, match=message):
        models.resolve(str(file), local)


def test_a_file_cut_short_is_told(folder, local):
    content = write(file := folder / "m.gguf")
    file.write_bytes(content[: len(content) // 2])
    for act in (models.resolve, models.peek):
        with pytest.raises(ModelError, match=r"m\.gguf.*cut short"):
            act(str(file), local)


@pytest.fixture
def ladder(hub, tmp_path) -> dict[str, bytes]:
    """A repository with two whole GGUF files, one that is split, and what belongs to none."""
    files = {
        f"small-{label}.gguf": write(tmp_path / f"{label}.gguf", tied=label == "Q4_K_M") for label in ("Q4_K_M", "Q8_0")
    }
    hub.repos[REPO] = files | {
        "big-00001-of-00002.gguf": b"x",
        "big-00002-of-00002.gguf": b"x",
        "README.md": b"# small",
        "config.json": b"{}",
    }
    return files


def test_only_the_chosen_file_is_fetched(hub, local, ladder):
    told = []
    model = models.resolve(REPO, local, lambda *step: told.append(step), "q8_0")
    assert (model.kind, model.revision) == ("hub", COMMIT)
    assert model.gguf.read_bytes() == ladder["small-Q8_0.gguf"]
    assert [file.name for file in model.folder.rglob("*")] == ["small-Q8_0.gguf"]
    assert {path.path.rpartition("/")[2] for path in hub.bodies()} == {"small-Q8_0.gguf"}
    assert told[-1][0] == told[-1][1] == len(ladder["small-Q8_0.gguf"])
    assert models.checkpoint(model) == models.peek(REPO, local, "q8_0")


def test_sizes_are_known_by_the_header_alone(hub, local, ladder, monkeypatch):
    monkeypatch.setattr("quantlab.models.hub.outline._BLOCK_BYTES", 256)
    checkpoint = models.peek(REPO, local, "q4_k_m")
    assert checkpoint.stored_as == "gguf" and "output.weight" not in checkpoint.tensors
    assert checkpoint.nbytes == sum(
        math.prod(it.shape) // n * size for it in checkpoint.tensors.values() for n, size in [BLOCKS[it.dtype]]
    )
    bodies = hub.bodies()
    assert len(bodies) > 1 and all(body.range and body.range.startswith("bytes=") for body in bodies)
    asked = sum(int(b.range[6:].split("-")[1]) - int(b.range[6:].split("-")[0]) + 1 for b in bodies)
    assert asked < len(ladder["small-Q4_K_M.gguf"])


def test_several_files_ask_for_a_pick_also_when_one_is_in_the_cache(hub, local, ladder):
    models.resolve(f"{REPO}@{COMMIT}", local, pick="q8_0")
    for act in (models.resolve, models.peek):
        there = r"big-00001-of-00002\.gguf, small-Q4_K_M\.gguf, small-Q8_0\.gguf"
        with pytest.raises(ModelError, match=f"several GGUF files: {there}"):
            act(f"{REPO}@{COMMIT}", local)


def test_a_pinned_file_in_the_cache_asks_nobody(hub, local, ladder):
    first = models.resolve(f"{REPO}@{COMMIT}", local, pick="q8_0")
    hub.requests.clear()
    assert models.resolve(f"{REPO}@{COMMIT}", local, pick="q8_0") == first
    models.peek(f"{REPO}@{COMMIT}", local, "q8_0")
    assert hub.requests == []


def test_a_damaged_file_is_found_out_before_it_is_fetched(hub, local, ladder):
    hub.repos[REPO]["small-Q8_0.gguf"] = ladder["small-Q8_0.gguf"][:-2_000]
    with pytest.raises(ModelError, match=r"small-Q8_0\.gguf.*cut short"):
        models.resolve(REPO, local, pick="q8_0")
    assert all(body.range is not None for body in hub.bodies())


@pytest.mark.slow
def test_safetensors_go_before_gguf_and_come_whole_after_one(hub, local, ladder, model_files):
    hub.repos[REPO] = model_files | ladder
    assert models.resolve(REPO, local, pick="small-Q8_0.gguf").gguf is not None
    model = models.resolve(REPO, local)
    assert model.gguf is None and models.checkpoint(model).stored_as is None
    assert (model.folder / "model.safetensors").is_file()


def test_a_name_that_leads_out_of_the_folder_is_no_file_of_the_repository(hub, local, ladder):
    hub.repos[REPO] = {"../../evil.gguf": ladder["small-Q8_0.gguf"], "README.md": b""}
    with pytest.raises(ModelError):
        models.resolve(REPO, local)
    assert hub.bodies() == []


def test_in_public_a_file_comes_at_the_allowed_revision_only(hub, ladder):
    app = AppSettings(public=True, allowed_models=f"demo,{REPO}@{COMMIT}")
    assert models.resolve(REPO, app, pick="q8_0").revision == COMMIT
    assert download(REPO, COMMIT, pick="q8_0").gguf.name == "small-Q8_0.gguf"


@pytest.fixture
def trained(hub, tmp_path) -> dict[str, bytes]:
    """A repository with real GGUF files, one of them split."""
    file = gguf_files.make(tmp_path, "Q8_0")
    whole = {"small-Q8_0.gguf": file, "small-F32.gguf": tmp_path / "small-f32.gguf"}
    split = gguf_files.split(file, tmp_path / "split")
    hub.repos[REPO] = {name: path.read_bytes() for name, path in (whole | {it.name: it for it in split}).items()}
    return hub.repos[REPO]


@pytest.mark.slow
@pytest.mark.parametrize("pick", ["small-Q8_0.gguf", "parts-00001-of-00003.gguf"])
def test_a_file_of_the_hub_can_be_the_model(hub, local, trained, pick, monkeypatch):
    monkeypatch.setattr("quantlab.models.hub.outline._BLOCK_BYTES", 1 << 16)
    before = models.peek_main(f"{REPO}::{pick}", local)
    assert all(body.range for body in hub.bodies()), "only beginnings of files"
    model = models.resolve_main(f"{REPO}::{pick}", local)
    assert (model.name, model.kind, model.revision) == (f"{REPO}::{pick}", "gguf", COMMIT)
    parts_there = part_files(model.origin)
    assert [part.read_bytes() for part in parts_there] == [trained[name] for name in parts(pick)]
    assert models.checkpoint(model) == before, "the same is known before and after the download"
    assert before.stored_as is None and before.file.stored_as == "gguf"


def test_a_file_of_the_hub_is_named_where_there_are_several(hub, local, trained):
    with pytest.raises(ModelError, match="several GGUF files"):
        models.resolve_main(REPO, local)
    with pytest.raises(BadInput, match="names no file"):
        models.resolve_main(f"{REPO}::", local)


def test_what_cannot_be_a_model_is_refused_before_it_is_fetched(hub, local, tmp_path):
    file = gguf_files.rewrite(gguf_files.make(tmp_path), tmp_path / "bare.gguf", without=("tokenizer.ggml.tokens",))
    hub.repos[REPO] = {"small-Q8_0.gguf": file.read_bytes()}
    with pytest.raises(ModelError, match="has no tokenizer"):
        models.resolve_main(REPO, local)
    assert all(body.range for body in hub.bodies())


def test_a_part_that_the_hub_lacks_is_named(hub, local, trained):
    del trained["parts-00002-of-00003.gguf"]
    with pytest.raises(ModelError, match=r"has no parts-00002-of-00003\.gguf"):
        models.resolve_main(f"{REPO}::parts-00001-of-00003.gguf", local)
    assert hub.bodies() == []

"""What a model's files are known by: which changes count, which do not, and what a look costs."""

import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from quantlab import models
from quantlab.errors import ModelError
from quantlab.models import identities
from quantlab.models.identities import check_unchanged, identified, identity
from quantlab.records import Model

OLD = 1_700_000_000


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "model"
    (folder / "additional_chat_templates").mkdir(parents=True)
    for name in (
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "merges.txt",
        "vocab.txt",
        "chat_template.jinja",
        "quantize_config.json",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "additional_chat_templates/tools.jinja",
        "README.md",
        "pytorch_model.bin",
        "other.gguf",
    ):
        (folder / name).write_text(f"the content of {name}")
    return folder


def of(folder: Path, **options) -> Model:
    return Model(str(folder), "folder", folder, **options)


def settled(file: Path) -> None:
    """Wait until the file's last change is old enough to be remembered."""
    while time.time_ns() - file.stat().st_ctime_ns <= identities._SETTLED_NS:
        time.sleep(0.05)


def changed(file: Path, position: int = 3) -> None:
    """Another byte in place, the size and the time as before."""
    before = file.stat()
    with file.open("r+b") as opened:
        opened.seek(position)
        byte = opened.read(1)
        opened.seek(position)
        opened.write(bytes([byte[0] ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


READ = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "merges.txt",
    "vocab.txt",
    "chat_template.jinja",
    "quantize_config.json",
    "model-00001-of-00002.safetensors",
    "model.safetensors.index.json",
    "additional_chat_templates/tools.jinja",
)


@pytest.mark.parametrize("name", READ)
def test_every_file_that_a_model_is_read_from_counts(folder, name):
    before = identity(of(folder))
    changed(folder / name)
    other = identity(of(folder))
    assert other != before and len(other) == 32
    (folder / name).unlink()
    assert identity(of(folder)) not in (before, other)


@pytest.mark.parametrize("name", ["README.md", "pytorch_model.bin", "other.gguf"])
def test_files_that_are_not_read_do_not_count(folder, name):
    before = identity(of(folder))
    changed(folder / name)
    assert identity(of(folder)) == before


def test_a_copy_is_the_same_and_a_touch_changes_nothing(folder, tmp_path):
    before = identity(of(folder))
    copied = Path(shutil.copytree(folder, tmp_path / "copy"))
    os.utime(copied / "config.json", (OLD, OLD))
    assert identity(of(copied)) == before


def test_a_gguf_file_counts_by_itself(folder):
    model = of(folder, gguf=folder / "other.gguf")
    before = identity(model)
    changed(folder / "config.json")
    assert identity(model) == before
    changed(folder / "other.gguf")
    assert identity(model) != before


@pytest.mark.parametrize("position", [0, 30_000, 99_999, 50_000], ids=["head", "piece", "tail", "middle"])
def test_large_files_are_known_by_size_time_and_a_sample(folder, monkeypatch, position):
    monkeypatch.setattr(identities, "HASHED_BYTES", 10_000)
    monkeypatch.setattr(identities, "_EDGE", 1_000)
    monkeypatch.setattr(identities, "_PIECE", 10)
    monkeypatch.setattr(identities, "_PIECES", 10)
    file = folder / "model-00001-of-00002.safetensors"
    file.write_bytes(bytes(100_000))
    before = identity(of(folder))
    changed(file, position)
    assert identity(of(folder)) != before
    changed(file, position)
    assert identity(of(folder)) == before
    os.utime(file, (OLD, OLD))
    older = identity(of(folder))
    assert older != before
    # What the documentation owns up to: between the pieces, with the old time, a change is not seen.
    changed(file, 35_555)
    assert identity(of(folder)) == older


@pytest.mark.slow
def test_what_is_remembered_is_never_older_than_the_file(folder):
    file = folder / "model-00001-of-00002.safetensors"
    settled(file)
    before = identity(of(folder))
    assert identity(of(folder)) == before
    changed(file)
    assert identity(of(folder)) != before, "right after a look at the settled file"
    changed(file)
    assert identity(of(folder)) == before
    aside = folder / "aside"
    shutil.copy2(file, aside)
    changed(aside)
    aside.rename(file)
    assert identity(of(folder)) != before, "another file under its name, of the same size and time"


def test_changes_in_quick_succession_are_all_seen(folder):
    file = folder / "model-00001-of-00002.safetensors"
    seen = []
    for number in range(50):
        file.write_text(f"{number:08}")
        seen.append(identity(of(folder)))
    assert len(set(seen)) == 50


@pytest.mark.slow
def test_a_look_at_settled_files_reads_nothing(folder, monkeypatch):
    with (folder / "model-00001-of-00002.safetensors").open("wb") as opened:
        opened.truncate(20 * 10**9)  # sparse
    begun = time.perf_counter()
    before = identity(of(folder))
    assert time.perf_counter() - begun < 1
    settled(folder / "model-00001-of-00002.safetensors")
    assert identity(of(folder)) == before
    monkeypatch.setattr(identities, "_read", None)
    begun = time.perf_counter()
    for _ in range(10):
        assert identity(of(folder)) == before
    assert (time.perf_counter() - begun) / 10 < 0.01


def test_only_regular_files_are_read(folder):
    """A pipe has no end, and opening one waits for a writer."""
    before = identity(of(folder))
    os.mkfifo(folder / "x.json")
    (folder / "y.json").mkdir()
    (folder / "z.json").symlink_to(folder / "nowhere")
    (folder / "null.json").symlink_to("/dev/zero")
    os.mkfifo(folder / "additional_chat_templates" / "x.jinja")
    found = []
    thread = threading.Thread(target=lambda: found.append(identity(of(folder))), daemon=True)
    thread.start()
    thread.join(10)
    assert found == [before]


def test_a_pipe_in_place_of_a_gguf_file_is_refused(folder):
    os.mkfifo(folder / "pipe.gguf")
    with pytest.raises(ModelError, match="cannot be read"):
        identity(of(folder, gguf=folder / "pipe.gguf"))
    with pytest.raises(ModelError, match="cannot be read"):
        identity(of(folder / "gone"))


def test_a_link_counts_with_what_it_leads_to(folder, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in READ[:-1]:
        (linked / name).symlink_to(folder / name)
    before = identity(of(linked))
    changed(folder / "model-00001-of-00002.safetensors")
    assert identity(of(linked)) != before


def test_a_hub_model_is_its_commit_and_its_file(folder):
    one = Model("ada/lace", "hub", folder, "a" * 40)
    assert identity(one) == identity(replace(one, folder=folder.parent)) != identity(replace(one, revision="b" * 40))
    first, second = (replace(one, gguf=folder / name) for name in ("q4.gguf", "sub/q8.gguf"))
    assert len({identity(one), identity(first), identity(second)}) == 3
    assert identity(replace(one, revision=None)) == identity(of(folder)), "without a commit its files must do"


def test_a_shape_is_its_configuration(monkeypatch):
    small, large = Model("shape:bench-100m", "shape", None), Model("shape:Llama-2-7B", "shape", None)
    before = identity(small)
    assert before == identity(replace(small, name="shape:BENCH-100m")) != identity(large)
    monkeypatch.setattr(identities.shapes, "shape_config", lambda name: {"hidden_size": 8})
    assert identity(small) != before


def test_a_changed_model_is_refused_and_one_nobody_looked_at_is_not(folder):
    model = identified(of(folder))
    check_unchanged(model)
    changed(folder / "tokenizer.json")
    with pytest.raises(ModelError, match="were changed") as error:
        check_unchanged(model)
    assert "again" in error.value.advice
    check_unchanged(of(folder))
    check_unchanged(identified(model))


def test_resolving_fills_it_in_and_a_peek_needs_none(local, monkeypatch):
    found = models.resolve("demo", local)
    assert found.identity == identity(found)
    monkeypatch.setattr(identities, "_read", None)
    monkeypatch.setattr(identities, "_remembered", None)
    assert models.peek("demo", local).tensors

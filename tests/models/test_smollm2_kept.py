"""SmolLM2 once it is on the disk: found without its package, made once by two processes, never believed when damaged;
and of the Hub only the file that was published. The demo's files stand for the conversion, which takes seconds.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from quantlab import models
from quantlab.errors import ModelError
from quantlab.models import sealed, smollm2
from quantlab.models.source import DEMO_FOLDER
from quantlab.settings import AppSettings

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "model.safetensors"


@pytest.fixture
def app(tmp_path, monkeypatch) -> AppSettings:
    """A machine without a Hub, with a package whose conversion is quick."""
    monkeypatch.setattr(smollm2.hub, "reachable", lambda patience_s: False)
    monkeypatch.setattr(smollm2.hub, "in_cache", lambda repo, commit: False)
    monkeypatch.setattr(smollm2, "packaged", lambda: tmp_path / "packaged.gguf")
    monkeypatch.setattr(smollm2, "version", lambda package: "0.1.2")
    monkeypatch.setattr(smollm2, "_missing", lambda: None)
    monkeypatch.setattr(smollm2, "_convert", convert)
    return AppSettings(public=False, cache_folder=tmp_path / "cache")


def convert(file: Path, folder: Path, progress) -> None:
    # Without their times, as what is written now.
    shutil.copytree(DEMO_FOLDER, folder, copy_function=shutil.copyfile)


def without_package(monkeypatch) -> None:
    def gone(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(smollm2, "packaged", lambda: None)
    monkeypatch.setattr(smollm2, "version", gone)
    monkeypatch.setattr(smollm2, "_missing", lambda: "gguf")


def test_what_was_made_is_found_after_the_package_went(app, monkeypatch):
    made = models.resolve("smollm2", app)
    without_package(monkeypatch)
    found = models.resolve("smollm2", app)
    assert smollm2.here(app) and found == made and found.kind == "package" and found.caution
    assert models.peek("smollm2", app).nbytes == models.checkpoint(made).nbytes
    assert [choice.name for choice in models.known_models(app)][:2] == ["smollm2", "demo"]


def flipped(folder: Path, name: str = WEIGHTS, place: float = 0.7) -> None:
    content = bytearray((folder / name).read_bytes())
    content[int(len(content) * place)] ^= 1
    (folder / name).write_bytes(content)


DAMAGES = {
    "a bit of the weights": flipped,
    "a bit of the tokenizer": lambda folder: flipped(folder, "tokenizer.json"),
    "cut short": lambda folder: os.truncate(folder / WEIGHTS, 10**6),
    "a file is gone": lambda folder: (folder / "generation_config.json").unlink(),
    "the list is gone": lambda folder: (folder / sealed.LIST).unlink(),
    "the list is damaged": lambda folder: (folder / sealed.LIST).write_text('{"config.json": 3}'),
    "the list is empty": lambda folder: (folder / sealed.LIST).write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_bytes_do_not_pass_as_whole(app, monkeypatch, damage):
    folder = models.resolve("smollm2", app).folder
    damage(folder)
    assert hashlib.sha256((models.resolve("smollm2", app).folder / WEIGHTS).read_bytes()).digest() == (
        hashlib.sha256((DEMO_FOLDER / WEIGHTS).read_bytes()).digest()
    ), "it was made anew"
    damage(folder)
    without_package(monkeypatch)
    assert not smollm2.here(app)
    with pytest.raises(ModelError, match="not on this machine"):
        models.resolve("smollm2", app)


def test_a_copy_of_the_cache_is_whole_though_its_times_are_new(app, tmp_path, monkeypatch):
    models.resolve("smollm2", app)
    shutil.copytree(app.cache_folder, tmp_path / "other", copy_function=shutil.copyfile)
    without_package(monkeypatch)
    assert smollm2.here(AppSettings(public=False, cache_folder=tmp_path / "other"))


def test_a_folder_that_cannot_be_written_is_told(app, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        models.resolve("smollm2", AppSettings(public=False, cache_folder=tmp_path / "file"))


PROGRAM = """
import contextlib, shutil, sys, time
from pathlib import Path
from quantlab.models import smollm2
from quantlab.models.source import DEMO_FOLDER
from quantlab.settings import AppSettings

place = Path(sys.argv[1])

def convert(file, folder, progress):
    with (place / "log").open("a") as log:
        log.write("made\\n")
    folder.mkdir()
    until = time.monotonic() + 30  # half-way: the other one must neither take this nor make its own
    while not (place / "waits").exists() and time.monotonic() < until:
        time.sleep(0.05)
    shutil.copytree(DEMO_FOLDER, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)

smollm2.hub.reachable = lambda patience_s: False
smollm2.hub.in_cache = lambda repo, commit: False
smollm2.packaged = lambda: place / "packaged.gguf"
smollm2._missing = lambda: None
smollm2._convert = convert
smollm2.watching = smollm2._no_bar = lambda *_: contextlib.nullcontext()

def progress(done, total, what):
    if what == "another process makes SmolLM2":
        (place / "waits").touch()

found = smollm2.resolve(AppSettings(public=False, cache_folder=place), progress)
print(found.folder, smollm2._whole(found.folder))
"""


def test_two_processes_make_it_once(tmp_path):
    started = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [process.communicate(timeout=60)[0].splitlines() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert (tmp_path / "log").read_text() == "made\n"
    assert told[0][-1] == told[1][-1] and told[0][-1].endswith(" True")
    assert (tmp_path / "waits").exists(), "the other one was told why it waits"
    assert not list((tmp_path / ".models").glob("*~*"))


@pytest.fixture
def published(hub, model_files, monkeypatch):
    """A Hub with a model under SmolLM2's name, at its commit."""
    hub.commit = smollm2.COMMIT
    hub.repos[smollm2.REPO] = dict(model_files)
    monkeypatch.setattr(smollm2, "packaged", lambda: None)
    return hub


def test_weights_of_the_hub_that_are_not_the_published_ones_are_refused(published, tmp_path):
    app = AppSettings(public=False, cache_folder=tmp_path)
    for _ in range(2):  # from the Hub, then from its cache
        with pytest.raises(ModelError, match="not the file that was published: its sha256 is") as refused:
            models.resolve("smollm2", app)
        assert "Delete" in refused.value.advice and smollm2.SHA256[:12] in refused.value.what


def test_the_published_weights_are_taken_and_bytes_that_changed_on_the_way_are_not(published, tmp_path, monkeypatch):
    content = published.repos[smollm2.REPO][WEIGHTS]
    monkeypatch.setattr(smollm2, "SHA256", hashlib.sha256(content).hexdigest())
    app = AppSettings(public=False, cache_folder=tmp_path)
    found = models.resolve("smollm2", app)
    assert (found.kind, found.revision, found.caution) == ("hub", smollm2.COMMIT, None)
    published.close()
    assert models.resolve("smollm2", app) == found, "from the cache, and by the name that the Hub gave it"
    flipped(found.folder)
    with pytest.raises(ModelError, match="not the file that was published"):
        smollm2._of_hub(smollm2.hub.Downloaded(found.folder, found.revision), fresh=True)


def test_in_public_the_demo_is_first_where_nobody_could_load_it(app, monkeypatch):
    public = AppSettings(public=True, cache_folder=app.cache_folder)
    asked = []
    monkeypatch.setattr(smollm2, "_asked", None)
    monkeypatch.setattr(smollm2.hub, "reachable", lambda patience_s: bool(asked.append(1)))
    without_package(monkeypatch)
    for _ in range(3):
        first, second, *_ = models.known_models(public)
        assert (first.name, second.name) == ("demo", "smollm2") and smollm2.INSTALL in first.description
    assert len(asked) == 1, "an absent Hub is not asked for every visitor"
    assert models.known_models(AppSettings(public=True, allowed_models="smollm2"))[0].name == "smollm2"
    only = AppSettings(public=True, allowed_models="demo,smollm2")
    assert [it.name for it in models.known_models(only)] == ["demo", "smollm2"]
    assert smollm2.INSTALL not in models.known_models(only)[0].description, "somebody chose that order"


def test_in_public_it_is_first_where_it_is_or_where_the_hub_answers(app, monkeypatch):
    public = AppSettings(public=True, cache_folder=app.cache_folder)
    assert models.known_models(public)[0].name == "smollm2", "the package is here"
    without_package(monkeypatch)
    monkeypatch.setattr(smollm2, "_asked", None)
    monkeypatch.setattr(smollm2.hub, "reachable", lambda patience_s: True)
    assert [it.name for it in models.known_models(public)] == list(public.allowed_models)

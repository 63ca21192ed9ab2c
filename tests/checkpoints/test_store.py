"""Checkpoints kept on disk, with a method that writes one small file and can be told to fail."""

import json
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from quantlab import models
from quantlab.checkpoints import store as disk
from quantlab.checkpoints.load import GGUF_NAME, kept_model, load_variant
from quantlab.checkpoints.store import MANIFEST, CachedCheckpoint, CheckpointStore
from quantlab.errors import ModelError, OutOfMemory, Stopped, Unavailable
from quantlab.methods import METHODS, base
from quantlab.records import Calibration, Checkpoint, Model, Precision, ResolvedPlacement, Variant, silent
from quantlab.records.units import size
from quantlab.runtime import least_recent
from quantlab.runtime.session import Facts, Storage
from tests import tiny

SIZE = 1_000


class Writing(base.Method):
    """Writes `SIZE` bytes in three steps. `before` is called at each step, with its number."""

    name, title, kept, packages = "writing", "Writing", True, ()
    precisions = (Precision("w", "writing", 4, ""),)

    def __init__(self, before=lambda step: None) -> None:
        self.before, self.builds = before, 0

    def estimate(self, precision, placement, checkpoint: Checkpoint) -> int:
        return SIZE

    def build(self, variant: Variant, folder: Path, progress) -> None:
        self.builds += 1
        assert not any(folder.iterdir())
        for step in range(3):
            progress(step, 3, f"part {step}")
            self.before(step)
            (folder / f"part-{step}").write_bytes(b"x" * (SIZE // 3))

    def load(self, model: Model, precision, placement, progress):
        if not all((model.folder / f"part-{step}").is_file() for step in range(3)):
            raise ModelError("a part is missing")
        return Loaded(model)


class Loaded:
    """What was read: no network, and the bytes that were written."""

    network, facts = None, Facts("float32", "none", {})

    def __init__(self, model: Model) -> None:
        self.model = model

    def storage(self) -> Storage:
        return Storage(SIZE, {}, SIZE, 0, 0)

    def close(self) -> None:
        """Nothing to give back."""


@pytest.fixture
def method(monkeypatch) -> Iterator[Writing]:
    writing = Writing()
    monkeypatch.setattr("quantlab.methods.METHODS", {**METHODS, "writing": writing})
    yield writing


@pytest.fixture
def model(tmp_path) -> Model:
    return tiny.write(tmp_path / "models", "llama")


@pytest.fixture
def store(tmp_path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "store", 10**9)


def variant(model: Model, **options) -> Variant:
    return Variant(model, replace(Precision("w", "writing", 4, ""), **options), ResolvedPlacement("cpu", "float32"))


def whole(store: CheckpointStore) -> list[Path]:
    return [p for p in store.root.iterdir() if not p.name.startswith(".")] if store.root.is_dir() else []


def left_aside(store: CheckpointStore) -> list[Path]:
    return list((store.root / ".building").glob("*"))


def test_the_first_asker_builds_and_the_second_reads(method, model, store):
    first, second = (store.get(variant(model), silent) for _ in range(2))
    assert (first.built_now, second.built_now, method.builds) == (True, False, 1)
    assert first.folder == second.folder and second.build_s == first.build_s > 0
    manifest = json.loads((first.folder / MANIFEST).read_text())
    assert (manifest["model"], manifest["precision"]) == (model.name, "w")
    assert left_aside(store) == []


def test_bring_tells_where_a_variant_came_from(method, model, store):
    brought = [load_variant(variant(model), silent, store) for _ in range(2)]
    assert [b.origin for b in brought] == ["built", "disk"]
    assert brought[0].build_s == brought[1].build_s > 0
    read = brought[0].loaded.model
    assert read.folder.parent == store.root and read.name == model.name
    assert brought[0].loaded.facts.notes == () and brought[0].stored.total == SIZE


def test_other_bytes_than_estimated_are_a_note(method, model, store, monkeypatch):
    monkeypatch.setattr(Writing, "estimate", lambda *_: SIZE * 2)
    (note,) = load_variant(variant(model), silent, store).loaded.facts.notes
    assert note == f"it takes {size(SIZE)}, and {size(2 * SIZE)} were estimated before it was loaded"


def test_what_was_damaged_later_is_built_again(method, model, store):
    kept = store.get(variant(model), silent)
    (kept.folder / "part-1").unlink()
    assert load_variant(variant(model), silent, store).origin == "built" and method.builds == 2
    assert (kept.folder / "part-1").is_file()


@pytest.mark.parametrize(
    "change",
    [
        lambda v: replace(v, precision=replace(v.precision, bits=3)),
        lambda v: replace(v, calibration=Calibration(samples=3)),
        lambda v: replace(v, calibration=Calibration(digest="another text")),
    ],
    ids=["precision", "samples", "text"],
)
def test_whatever_changes_the_result_is_another_checkpoint(method, model, store, change):
    one = replace(variant(model), calibration=Calibration())
    assert store.get(one, silent).folder != store.get(change(one), silent).folder
    assert method.builds == 2


def test_the_key_holds_the_models_files_and_the_versions_of_its_packages(method, model, store, tmp_path, monkeypatch):
    first = store.get(variant(model), silent)
    copied = shutil.copytree(model.folder, tmp_path / "elsewhere" / model.folder.name)
    assert store.get(variant(replace(model, folder=copied)), silent).folder == first.folder, "the same bytes"
    config = copied / "config.json"
    config.write_text(config.read_text() + " ")
    assert store.get(variant(replace(model, folder=copied)), silent).folder != first.folder
    monkeypatch.setattr(disk, "version", lambda package: "99")
    assert store.get(variant(model), silent).folder != first.folder


def test_names_and_placements_do_not_make_another_checkpoint(method, model, store):
    first = store.get(variant(model), silent)
    same = replace(variant(model, summary="other words"), placement=ResolvedPlacement("cpu", "float16"))
    assert store.get(same, silent).folder == first.folder


@pytest.mark.parametrize(
    ("error", "raised", "says"),
    [
        (Stopped(), Stopped, "Stopped"),
        (OutOfMemory("full"), OutOfMemory, "full"),
        (RuntimeError("a defect"), RuntimeError, "a defect"),
        (OSError(28, "No space left on device", "part-1"), Unavailable, "disk is full"),
        (shutil.Error([("a", "b", "[Errno 28] No space left on device")]), Unavailable, "disk is full"),
        (PermissionError(13, "Permission denied", "part-1"), ModelError, "Permission denied"),
    ],
)
def test_a_build_that_breaks_off_leaves_nothing_that_could_be_found(method, model, store, error, raised, says):
    def fail(step: int) -> None:
        if step == 1:
            raise error

    method.before = fail
    with pytest.raises(raised, match=says):
        store.get(variant(model), silent)
    assert whole(store) == [] and left_aside(store) == []
    method.before = lambda step: None
    assert store.get(variant(model), silent).built_now


def test_progress_can_stop_a_build(method, model, store):
    def stop(done: int, _total: int, _what: str) -> None:
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        store.get(variant(model), stop)
    assert whole(store) == [] and left_aside(store) == []


def _killed(root: Path, model: Model) -> None:
    disk.method_of = lambda _precision: Writing(lambda step: os.kill(os.getpid(), 9) if step == 2 else None)
    CheckpointStore(root, 10**9).get(variant(model), silent)


def test_a_killed_process_leaves_no_lock_and_nothing_to_be_found(method, model, store):
    process = multiprocessing.get_context("fork").Process(target=_killed, args=(store.root, model))
    process.start()
    process.join(30)
    assert process.exitcode == -9
    assert whole(store) == [] and len(left_aside(store)) == 1
    assert store.get(variant(model), silent).built_now
    assert left_aside(store) == [], "the next builder clears what the dead one left"


def test_the_next_build_of_anything_clears_what_a_killed_one_left_and_spares_a_living_one(method, model, store):
    process = multiprocessing.get_context("fork").Process(target=_killed, args=(store.root, model))
    process.start()
    process.join(30)
    (dead,) = left_aside(store)
    entered, go_on = threading.Event(), threading.Event()
    method.before = lambda _step: entered.set() or go_on.wait(10)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(store.get, variant(model, bits=3), silent)
        assert entered.wait(10) and not dead.exists()
        (living,) = left_aside(store)
        method.before = lambda _step: None
        assert store.get(variant(model, bits=2), silent).built_now and store.clear() == 1
        store.work.sweep()
        assert left_aside(store) == [living]
        go_on.set()
        assert slow.result().built_now
    assert left_aside(store) == []


def _build(root: Path, model: Model, told) -> None:
    disk.method_of = lambda _precision: Writing(lambda step: time.sleep(0.2))
    told.put(CheckpointStore(root, 10**9).get(variant(model), silent).built_now)


def test_of_two_processes_one_builds_and_the_other_waits_for_it(method, model, store):
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    processes = [context.Process(target=_build, args=(store.root, model, told)) for _ in range(2)]
    for process in processes:
        process.start()
    built = sorted(told.get(timeout=30) for _ in processes)
    for process in processes:
        process.join(30)
    assert built == [False, True] and len(whole(store)) == 1


def test_who_waits_is_told_so_and_can_stop(method, model, store):
    waiting, go_on = threading.Event(), threading.Event()
    method.before = lambda step: go_on.wait(10)

    def impatient(_done: int, _total: int, what: str) -> None:
        if "another process" in what:
            waiting.set()
            raise Stopped

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(store.get, variant(model), silent)
        while not method.builds:
            time.sleep(0.01)
        with pytest.raises(Stopped):
            store.get(variant(model), impatient)
        go_on.set()
        assert slow.result().built_now and waiting.is_set()


def test_the_least_recently_used_go_when_the_limit_is_reached(method, model, store):
    store = replace(store, limit=3 * SIZE)
    kept = [store.get(variant(model, bits=bits), silent).folder for bits in (2, 3)]
    for age, folder in enumerate(kept):
        os.utime(folder / MANIFEST, (1_000 + age, 1_000 + age))
    assert not store.get(variant(model, bits=2), silent).built_now, "used now, so no longer the oldest"
    newest = store.get(variant(model, bits=4), silent).folder
    assert kept[0].is_dir() and newest.is_dir() and not kept[1].exists()
    tight = replace(store, limit=1)
    assert tight.get(variant(model, bits=8), silent).folder.is_dir(), "the newest stays, however large it is"
    assert len(whole(store)) == 1


def test_clearing_removes_what_is_named_or_all(method, model, store):
    names = [store.get(variant(model, bits=bits), silent).folder.name for bits in (2, 3, 4)]
    assert [e.name for e in store.entries()] == sorted(names, key=lambda n: -names.index(n))
    assert store.entries()[0].nbytes == least_recent.nbytes(store.root / names[2])
    assert store.clear((names[1],)) == 1 and {e.name for e in store.entries()} == {names[0], names[2]}
    (store.root / ".building" / "dead.123").mkdir(parents=True)
    assert store.clear() == 2 and store.entries() == () and left_aside(store) == []


def test_a_store_that_does_not_exist_is_empty(tmp_path):
    store = CheckpointStore(tmp_path / "nowhere", 1)
    assert store.entries() == () and store.clear() == 0


def test_a_folder_that_cannot_be_written_is_said_so(method, model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match=r"cannot be read or written"):
        CheckpointStore(tmp_path / "file", 1).get(variant(model), silent)


def test_a_build_asks_for_room_on_the_disk_beforehand(method, model, store, monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**7, 10**7, 12_000))
    with pytest.raises(Unavailable, match=r"needs about 0\.\d{3} MB on the disk, and 0\.0120 MB are free"):
        store.get(variant(model), silent)
    assert method.builds == 0 and whole(store) == []


def test_a_kept_gguf_is_told_apart(tmp_path):
    model, kept = Model("m", "folder", Path("original")), CachedCheckpoint(tmp_path, 1.0, True)
    assert kept_model(model, kept).gguf is None
    (tmp_path / GGUF_NAME).touch()
    assert kept_model(model, kept) == replace(model, folder=tmp_path, gguf=tmp_path / GGUF_NAME)


def test_files_that_change_while_a_checkpoint_is_built_leave_none(method, model, store):
    """It would be found under the name of what lay there before."""
    looked_at = models.identified(model)

    def overwrite(step: int) -> None:
        if step == 1:
            weights = model.folder / "model.safetensors"
            weights.write_bytes(weights.read_bytes()[:-1] + b"x")

    method.before = overwrite
    with pytest.raises(ModelError, match="were changed after this run began"):
        store.get(variant(looked_at), silent)
    assert whole(store) == [] and left_aside(store) == []
    method.before = lambda step: None
    anew = models.identified(model)
    assert store.get(variant(anew), silent).built_now and method.builds == 2
    assert not store.get(variant(replace(anew, identity="")), silent).built_now, "looked at where nobody did before"


def test_what_was_built_of_the_old_files_is_not_taken_for_the_new_ones(method, model, store):
    old = store.get(variant(models.identified(model)), silent)
    tokenizer = model.folder / "tokenizer.json"
    stat = tokenizer.stat()
    content = tokenizer.read_bytes()
    tokenizer.write_bytes(content[:-1] + b" ")
    os.utime(tokenizer, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    new = store.get(variant(models.identified(model)), silent)
    assert new.built_now and new.folder != old.folder
    tokenizer.write_bytes(content)
    assert store.get(variant(models.identified(model)), silent).folder == old.folder

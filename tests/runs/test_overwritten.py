"""Folders and files that are overwritten between two runs of one process, or while they are read.

What was loaded, kept or measured of the old files must never stand for the new ones.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from quantlab import models
from quantlab.checkpoints.export import quantize
from quantlab.checkpoints.load import load_variant
from quantlab.fidelity.reference import ScoreStore
from quantlab.fidelity.texts import text
from quantlab.history import History
from quantlab.methods import method_of, precision
from quantlab.records import Model, Placement, Progress, QualitySettings, Settings, Variant, silent
from quantlab.records.asked import ComparisonRequest
from quantlab.records.events import Done, Finished, Loaded, Measured, QualityDone
from quantlab.records.quality import QualityRequest
from quantlab.runs import quality as quality_module
from quantlab.runs.recorded import recorded_compare, recorded_quality, resumed
from quantlab.runtime.storage import every_tensor
from quantlab.runtime.variant_cache import LoadResult, VariantCache
from tests import tiny
from tests.comparing import Loader, compared

#: Whole comparisons and quality runs, two of each.
pytestmark = pytest.mark.slow

PLACEMENT = Placement("cpu", "float32")
SETTINGS = Settings(max_new_tokens=4, placement=PLACEMENT)
QUALITY = QualitySettings(windows=1, new_tokens=3, layers=False, placement=PLACEMENT)
PROMPT = "Once upon a time"


def overwrite_weights(folder: Path, seed: int) -> None:
    """Other weights in place: the same file, its size and its header."""
    import numpy as np

    file = folder / "model.safetensors"
    size = file.stat().st_size
    with file.open("r+b") as opened:
        header = int.from_bytes(opened.read(8), "little")
        opened.seek(8 + header)
        count = (size - 8 - header) // 4
        opened.write((np.random.default_rng(seed).standard_normal(count) / 10).astype("<f4").tobytes())
    assert file.stat().st_size == size


def with_the_old_time(change: Callable[[Path], None]) -> Callable[[Path], None]:
    """The same change, after which the file's time is what it was, as `cp -p` and archives leave it."""

    def changed(folder: Path) -> None:
        before = {file: file.stat() for file in folder.iterdir()}
        change(folder)
        for file, stat in before.items():
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    return changed


def other_weights(folder: Path) -> None:
    overwrite_weights(folder, seed=7)


def an_older_model(folder: Path) -> None:
    """Other files renamed over those that are there, with a date of last year."""
    for file in folder.iterdir():
        aside = file.with_suffix(".aside")
        shutil.copyfile(file, aside)
        os.utime(aside, (1_700_000_000, 1_700_000_000))
        aside.rename(file)
    overwrite_weights(folder, seed=8)
    os.utime(folder / "model.safetensors", (1_700_000_000, 1_700_000_000))


@pytest.fixture
def folder(tmp_path) -> Path:
    return tiny.write(tmp_path / "models", "llama").folder


CHANGES = [other_weights, with_the_old_time(other_weights), an_older_model]
NAMES = ["in place", "in place, the old time", "older files"]


def tokens(comparison) -> dict[str, tuple[int, ...]]:
    return {run.precision: run.token_ids for run in comparison.runs}


@pytest.mark.parametrize("change", CHANGES, ids=NAMES)
def test_an_overwritten_folder_is_loaded_anew(folder, tmp_path, change):
    loader = Loader()
    variants = loader.cache()
    before = compared(str(folder), ["fp32", "bf16", "rtn-8"], variants=variants)
    change(folder)
    after = compared(str(folder), ["fp32", "bf16", "rtn-8"], variants=variants)
    assert loader.loads == ["fp32", "bf16", "rtn-8"] * 2
    assert {run.load.load_origin for run in after.runs} == {"built"}
    fresh = compared(str(shutil.copytree(folder, tmp_path / "copy")), ["fp32", "bf16", "rtn-8"])
    assert tokens(after) == tokens(fresh) != tokens(before)
    assert max(it.kld for it in after.run("rtn-8").differences) < 0.01, "both columns are of the new weights"
    # Of the old ones nothing takes memory any more.
    assert sum(run.load.stored_bytes for run in after.runs) == variants.held_bytes("cpu")


def test_what_was_not_overwritten_stays_in_memory(folder):
    loader = Loader()
    variants = loader.cache()
    compared(str(folder), ["fp32", "rtn-8"], variants=variants)
    (folder / "README.md").write_text("words about the model")
    os.utime(folder / "model.safetensors")  # touched, and the same
    assert {run.load.load_origin for run in compared(str(folder), ["fp32", "rtn-8"], variants=variants).runs} == {
        "memory"
    }
    assert loader.loads == ["fp32", "rtn-8"]


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "generation_config.json", "chat_template.jinja"])
def test_every_file_that_is_read_counts(folder, name):
    variants = Loader().cache()
    compared(str(folder), ["fp32"], variants=variants)
    file = folder / name
    file.write_text(file.read_text() + "\n" if file.exists() else "{{ messages[0].content }}")
    assert compared(str(folder), ["fp32"], variants=variants).run("fp32").load.load_origin == "built"


def test_a_model_given_as_a_record_is_looked_at_each_time(tmp_path):
    model = tiny.write(tmp_path / "models", "llama")
    variants = Loader().cache()
    before = compared(model, ["fp32"], variants=variants)
    other_weights(model.folder)
    assert tokens(compared(model, ["fp32"], variants=variants)) != tokens(before)


def test_a_published_folder_that_is_overwritten_is_loaded_anew(folder, tmp_path):
    published = Path(shutil.copytree(folder, tmp_path / "published"))
    loader = Loader()
    variants = loader.cache()
    asked = [f"{published}::rtn-8", "fp32"]
    first = compared(str(folder), asked, variants=variants)
    other_weights(published)
    second = compared(str(folder), asked, variants=variants)
    label = first.runs[-1].precision
    assert loader.loads == ["fp32", label, label]
    near, far = (max(it.kld for it in result.run(label).differences) for result in (first, second))
    assert far > 10 * near


def overwriting(folder: Path, when: str):
    """A loader that overwrites the folder before or after the real one has read it."""

    def load(variant: Variant, progress: Progress) -> LoadResult:
        if when == "before":
            other_weights(folder)
        seen = []

        def meanwhile(*step) -> None:
            if when == "meanwhile" and not seen:
                other_weights(folder)
            seen.append(step)
            progress(*step)

        return load_variant(variant, meanwhile)

    return load


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_files_that_change_while_a_comparison_runs_are_refused(folder, when):
    loader = Loader({"rtn-8": overwriting(folder, when)})
    variants = loader.cache()
    result = compared(str(folder), ["fp32", "rtn-8"], variants=variants)
    assert result.run("rtn-8").error and "changed" in result.run("rtn-8").error
    assert "again" in result.run("rtn-8").advice and result.run("fp32").error is None
    loader.instead.clear()
    again = compared(str(folder), ["fp32", "rtn-8"], variants=variants)
    assert {run.error for run in again.runs} == {None} and {run.load.load_origin for run in again.runs} == {"built"}


@pytest.mark.parametrize("change", CHANGES, ids=NAMES)
def test_an_overwritten_folder_is_not_replayed(folder, tmp_path, change):
    kept = History(tmp_path / "history.sqlite")
    asked = (kept, ComparisonRequest(str(folder), ("fp32", "rtn-8"), PROMPT, SETTINGS))
    first, again = (list(recorded_compare(*asked))[-1] for _ in range(2))
    change(folder)
    after = list(recorded_compare(*asked))[-1]
    assert (first.replayed, again.replayed, after.replayed) == (False, True, False)
    assert tokens(after.comparison) != tokens(first.comparison)


def test_a_comparison_cut_short_is_not_finished_with_other_weights(folder, tmp_path):
    kept = History(tmp_path / "history.sqlite")
    request = ComparisonRequest(str(folder), ("rtn-8", "fp32", "rtn-3"), PROMPT, SETTINGS)
    with closing(recorded_compare(kept, request)) as events:
        count = 0
        for event in events:
            count += isinstance(event, Finished)
            if count == 2:
                break
    other_weights(folder)
    (entry,) = kept.entries()
    events = list(resumed(kept, entry.id))
    assert [event.precision for event in events if isinstance(event, Loaded)] == ["fp32", "rtn-8", "rtn-3"]
    found = events[-1].comparison
    assert max(it.kld for it in found.run("rtn-8").differences) < 0.01
    assert len({run.identity for run in found.runs}) == 1


def measured(store: ScoreStore, loader: Loader, model: str, names, variants: VariantCache | None = None, known=None):
    events = quality_module.quality(
        model, names, text("english"), QUALITY, variants=variants or loader.cache(), scores=store, known=known
    )
    return list(events)[-1].quality


@pytest.mark.parametrize("change", CHANGES, ids=NAMES)
def test_the_rows_of_the_old_weights_are_not_read_for_the_new_ones(folder, tmp_path, change):
    store, loader = ScoreStore(tmp_path / "scores", 10**9), Loader()
    variants = loader.cache()
    before = measured(store, loader, str(folder), ["fp32", "rtn-8"], variants)
    change(folder)
    after = measured(store, loader, str(folder), ["fp32", "rtn-8"], variants)
    assert after.run("fp32").fidelity.ppl != before.run("fp32").fidelity.ppl
    assert after.run("rtn-8").fidelity.kld.mean < 1e-3 and after.noise_floor.kld.mean < 1e-3
    assert len(list((tmp_path / "scores").glob("*.npy"))) == 2


def test_runs_known_of_other_weights_are_measured_again(folder, tmp_path):
    store, loader = ScoreStore(tmp_path / "scores", 10**9), Loader()
    before = measured(store, loader, str(folder), ["fp32", "bf16", "rtn-8"])
    known = {run.precision: run for run in before.runs}
    loader.loads.clear()
    measured(store, loader, str(folder), ["fp32", "bf16", "rtn-8"], known=known)
    assert loader.loads == []
    other_weights(folder)
    after = measured(store, loader, str(folder), ["fp32", "bf16", "rtn-8"], known=known)
    assert loader.loads == ["fp32", "bf16", "rtn-8"]
    assert after.run("rtn-8").fidelity.kld.mean < 1e-3
    assert after.run("fp32").fidelity.ppl != before.run("fp32").fidelity.ppl


def test_runs_of_a_column_whose_reference_was_overwritten_are_measured_again(folder, tmp_path):
    published = Path(shutil.copytree(folder, tmp_path / "published"))
    store, loader = ScoreStore(tmp_path / "scores", 10**9), Loader()
    asked = ["fp32", f"{published}::rtn-8"]
    before = measured(store, loader, str(folder), asked)
    known = {run.precision: run for run in before.runs}
    other_weights(folder)
    loader.loads.clear()
    after = measured(store, loader, str(folder), asked, known=known)
    label = before.runs[1].precision
    assert loader.loads == ["fp32", "bf16", label], "its own files are the same, what it is held against is not"
    assert after.run(label).fidelity.kld.mean > 10 * before.run(label).fidelity.kld.mean


def test_a_quality_run_cut_short_is_not_finished_with_other_weights(folder, tmp_path):
    kept = History(tmp_path / "history.sqlite")
    request = QualityRequest(str(folder), ("fp32", "bf16", "rtn-8"), text("english"), QUALITY)
    with closing(recorded_quality(kept, request)) as events:
        next(event for event in events if isinstance(event, Measured))
    other_weights(folder)
    (entry,) = kept.entries()
    events = list(resumed(kept, entry.id))
    assert isinstance(events[-1], QualityDone)
    measured = [event.run.precision for event in events if isinstance(event, Measured)]
    loaded = [event.precision for event in events if isinstance(event, Loaded)]
    assert tuple(dict.fromkeys(measured)) == tuple(loaded) == request.precisions
    assert events[-1].quality.run("rtn-8").fidelity.kld.mean < 1e-3


def test_runs_without_an_identity_are_of_an_older_version_and_measured_again(folder, tmp_path):
    store, loader = ScoreStore(tmp_path / "scores", 10**9), Loader()
    before = measured(store, loader, str(folder), ["fp32", "bf16"])
    known = {run.precision: replace(run, identity="") for run in before.runs}
    loader.loads.clear()
    measured(store, loader, str(folder), ["fp32", "bf16"], known=known)
    assert loader.loads == ["fp32", "bf16"]


def test_a_gguf_file_that_is_overwritten_is_measured_anew(tmp_path, at_once):
    pytest.importorskip("llama_cpp")

    def made(name: str) -> Path:
        steps = quantize("demo", name, tmp_path / name, PLACEMENT)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value.folder / "model.gguf"

    file = tmp_path / "some.gguf"
    shutil.copyfile(made("q8_0"), file)
    kept, store, loader = History(tmp_path / "history.sqlite"), ScoreStore(tmp_path / "scores", 10**9), Loader()
    variants = loader.cache()
    asked = ("fp32", str(file))
    compare = (kept, ComparisonRequest("demo", asked, PROMPT, SETTINGS))
    assert [list(recorded_compare(*compare))[-1].replayed for _ in range(2)] == [False, True]
    before = measured(store, loader, "demo", asked, variants)
    label = before.runs[1].precision
    aside = tmp_path / "aside"
    shutil.copyfile(made("q2_k"), aside)
    with aside.open("ab") as opened:
        opened.truncate(max(aside.stat().st_size, 1))
    aside.rename(file)
    os.utime(file, (1_700_000_000, 1_700_000_000))
    last = list(recorded_compare(*compare))[-1]
    assert isinstance(last, Done) and not last.replayed
    after = measured(store, loader, "demo", asked, variants, known={run.precision: run for run in before.runs})
    worse = next(run for run in after.runs if run.precision not in ("fp32",)).fidelity.kld.mean
    assert worse > 10 * before.run(label).fidelity.kld.mean


SPLIT = (
    *((name, "cpu") for name in ("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head")),
    ("model.layers.0", "cpu"),
    ("model.layers.1", "disk"),
)


@pytest.mark.parametrize("name", ["fp32", "bf16", "rtn-8", "nf4", "int8", "saved nf4", "saved int8", "saved nf4-dq"])
def test_what_is_loaded_is_no_map_of_its_file(folder, tmp_path, name):
    """Overwritten in place, the weights of a model in use changed with the file; cut short, they ended the process."""
    saved = name.startswith("saved ")
    if saved:
        list(quantize(str(folder), name.removeprefix("saved "), tmp_path / "saved", PLACEMENT))
        folder = tmp_path / "saved"
    chosen = precision("stored" if saved else name)
    loaded = method_of(chosen).load(tiny_model(folder), chosen, PLACEMENT, silent)
    before = [tensor.clone() for tensor in every_tensor(loaded.network)]
    assert all(tensor.untyped_storage().resizable() for tensor in every_tensor(loaded.network)), "torch's own memory"
    with (folder / "model.safetensors").open("r+b") as opened:
        opened.truncate(100)
    after = list(every_tensor(loaded.network))
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    loaded.close()


def test_tied_weights_stay_one(folder):
    model = tiny_model(folder)
    loaded = method_of(precision("fp32")).load(model, precision("fp32"), PLACEMENT, silent)
    network = loaded.network
    assert models.config(model)["tie_word_embeddings"]
    assert network.get_output_embeddings().weight.data_ptr() == network.get_input_embeddings().weight.data_ptr()
    loaded.close()


def tiny_model(folder: Path):
    return Model("tiny", "folder", folder)


def while_running(folder: Path, change: Callable[[Path], None]):
    """A loader whose model's file is changed as soon as it is loaded, before anything is measured."""

    def load(variant: Variant, progress: Progress) -> LoadResult:
        brought = load_variant(variant, progress)
        change(folder)
        return brought

    return load


def test_layers_left_on_the_disk_that_change_under_a_run_spoil_it(folder, tmp_path):
    loader = Loader({"fp32": while_running(folder, other_weights)})
    split = Placement("cpu", "float32", SPLIT)
    result = compared(str(folder), ["fp32", "rtn-8"], loader=loader, placement=split)
    assert "changed" in result.run("fp32").error and not result.run("fp32").token_ids
    store = ScoreStore(tmp_path / "scores", 10**9)
    loader = Loader({"fp32": while_running(folder, an_older_model)})
    settings = replace(QUALITY, placement=split)
    events = quality_module.quality(
        str(folder), ["fp32", "rtn-8"], text("english"), settings, variants=loader.cache(), scores=store
    )
    found = list(events)[-1].quality
    assert "changed" in found.run("fp32").error and found.run("fp32").fidelity is None
    assert not list((tmp_path / "scores").glob("*.npy")), "the rows were of neither state of the files"


def test_a_mapped_gguf_file_that_changes_under_a_run_spoils_it(tmp_path, at_once):
    pytest.importorskip("llama_cpp")
    steps = quantize("demo", "q8_0", tmp_path / "made", PLACEMENT)
    list(steps)
    file = tmp_path / "made" / "model.gguf"

    def touch_it(_folder: Path) -> None:
        with file.open("r+b") as opened:
            opened.seek(-1, os.SEEK_END)
            last = opened.read(1)
            opened.seek(-1, os.SEEK_END)
            opened.write(bytes([last[0] ^ 1]))

    label = compared("demo", ["fp32", str(file)]).runs[-1].precision
    loader = Loader({label: while_running(tmp_path, touch_it)})
    assert "changed" in compared("demo", ["fp32", str(file)], loader=loader).run(label).error

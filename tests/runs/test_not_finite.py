"""A reference whose logits are no numbers: another one takes its place, or it is named as the cause, everywhere."""

import re
from contextlib import closing
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from quantlab.cli import render
from quantlab.cli.render.screen import Screen
from quantlab.export import read_json, to_json
from quantlab.fidelity.reference import ScoreStore
from quantlab.fidelity.texts import text
from quantlab.history import History
from quantlab.records import Model, Placement, Quality, QualityRequest, QualitySettings
from quantlab.records.events import Measured, QualityDone, ReferenceMoved
from quantlab.reporting.advice import KLD_BOUND, advise
from quantlab.reporting.html import html
from quantlab.runs.quality import quality
from quantlab.runs.recorded import recorded_quality, resumed
from quantlab.ui.compare.figures import remarks
from tests import tiny
from tests.comparing import Loader, events
from tests.comparing import done as compared

SETTINGS = QualitySettings(windows=2, new_tokens=3, layers=False, placement=Placement("cpu", "float32"))


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory) -> Model:
    """Its activations leave float16's range, and no other's."""
    return changed(tmp_path_factory.mktemp("overflowing"), "model.layers.0.mlp.down_proj.weight", 2e4)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> Model:
    return changed(tmp_path_factory.mktemp("damaged"), "model.norm.weight", float("nan"))


def changed(folder, name: str, factor: float) -> Model:
    model = tiny.write(folder, "llama")
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = tensors[name] * factor
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return model


def measured(model: Model, names: list[str], store: ScoreStore, settings=SETTINGS) -> tuple[Quality, list]:
    cache = Loader().cache()
    seen = list(quality(model, names, text("demo"), settings, variants=cache, scores=store))
    cache.drop_unused()
    assert isinstance(seen[-1], QualityDone)
    return seen[-1].quality, seen


def told(show, record, *options) -> str:
    """What the terminal says, as one line."""
    screen = Screen(width=200)
    with screen.capture() as said:
        show(record, *options, console=screen)
    return " ".join(said.get().split())


def page(record, advice=()) -> str:
    return re.sub(r"<script.*?</script>", "", html(record, advice), flags=re.DOTALL)


def test_quality_moves_on_to_a_reference_that_gives_numbers(overflowing, tmp_path):
    store = ScoreStore(tmp_path, 10**9)
    found, seen = measured(overflowing, ["fp16", "rtn-3", "rtn-4"], store)
    (moved,) = (event for event in seen if isinstance(event, ReferenceMoved))
    assert found.reference == moved.precision == "rtn-4" and "fp16" in moved.why
    failed = found.run("fp16")
    assert failed.nonfinite > 0 and "infinite or not a number" in failed.error and "take bf16" in failed.advice
    assert found.run("rtn-4").fidelity.kld.mean == 0 < found.run("rtn-3").fidelity.kld.mean
    # What was read of the one that overflowed is of no use to anybody.
    assert len(list(store.root.glob("*.npy"))) == 1
    assert [run.precision for run in found.runs] == ["fp16", "rtn-3", "rtn-4"]
    assert read_json(to_json(found).encode()).run("fp16").nonfinite == failed.nonfinite


def test_a_reference_that_was_asked_for_stays_and_is_named(overflowing, tmp_path):
    settings = replace(SETTINGS, reference="fp16")
    found, seen = measured(overflowing, ["fp16", "bf16"], ScoreStore(tmp_path, 10**9), settings)
    assert found.reference == "fp16" and not [event for event in seen if isinstance(event, ReferenceMoved)]
    assert found.run("bf16").fidelity is None and found.run("bf16").error is None
    assert any("the logits of the reference, fp16, are no numbers" in note for note in found.run("bf16").notes)
    assert found.floor == "there is none: the logits of fp16 are no numbers"
    sentences = advise(found, KLD_BOUND).sentences
    assert any("Nothing can be compared with fp16, the reference" in it and "take bf16" in it for it in sentences)
    assert not any("not compared with fp16 yet" in it for it in sentences)
    for shown in (told(render.show_quality, found, KLD_BOUND), page(found, sentences), to_json(found)):
        assert "float16 ends at 65,504" in shown and "the logits of the reference, fp16, are no numbers" in shown


def test_nothing_is_measured_for_the_noise_of_a_reference_without_numbers(overflowing, tmp_path):
    loader = Loader()
    settings = replace(SETTINGS, reference="fp16")
    cache = loader.cache()
    store = ScoreStore(tmp_path, 10**9)
    list(quality(overflowing, ["fp16", "rtn-4"], text("demo"), settings, variants=cache, scores=store))
    cache.drop_unused()
    assert loader.loads == ["fp16", "rtn-4"]


def test_where_none_gives_numbers_the_last_one_stays(damaged, tmp_path):
    found, _ = measured(damaged, ["fp32", "rtn-4"], ScoreStore(tmp_path, 10**9))
    assert all(run.nonfinite > 0 and "copy the files again" in run.advice for run in found.runs)
    assert found.noise_floor is None and advise(found, KLD_BOUND).ranking == ()
    assert "no numbers" in found.floor


def test_what_was_cut_short_after_the_move_is_finished_beside_the_new_reference(overflowing, tmp_path, monkeypatch):
    history = History(tmp_path / "history.sqlite")
    request = QualityRequest(str(overflowing.folder), ("fp16", "rtn-4", "rtn-3"), text("demo"), SETTINGS)
    with closing(recorded_quality(history, request)) as stream:
        for event in stream:
            if isinstance(event, Measured) and event.run.precision == "rtn-4":
                break
    (entry,) = history.entries()
    assert history.get(entry.id).reference == "rtn-4"
    *_, last = resumed(history, entry.id)
    assert last.quality.reference == history.get(entry.id).reference == "rtn-4"
    assert last.quality.run("rtn-3").fidelity.kld.mean > 0


@pytest.mark.parametrize("race", [False, True])
def test_a_comparison_moves_on_too(overflowing, race):
    seen = list(events(overflowing, ["fp16", "rtn-3", "rtn-4"], race=race))
    (moved,) = (event for event in seen if isinstance(event, ReferenceMoved))
    found = compared(seen)
    assert found.reference == moved.precision == "rtn-4"
    assert found.run("fp16").nonfinite and found.run("fp16").differences == ()
    assert all(it.kld == it.kld for it in found.run("rtn-3").differences) and found.run("rtn-3").differences


def test_in_a_comparison_a_reference_that_was_asked_for_stays(overflowing):
    seen = list(events(overflowing, ["fp16", "rtn-4"], reference="fp16"))
    assert compared(seen).reference == "fp16" and not [event for event in seen if isinstance(event, ReferenceMoved)]


def test_answers_of_damaged_weights_are_named_on_page_terminal_and_in_the_report(damaged):
    found = compared(events(damaged, ["fp32"]))
    (run,) = found.runs
    assert f"{run.nonfinite:,} of its logits were infinite or not a number" in run.caution
    assert "float16" not in run.caution and "copy the files again" in run.caution
    assert run.caution in told(render.show, found) and run.caution in remarks(run, run.load)
    assert "of its logits were infinite or not a number" in page(found)


def test_numbers_need_no_caution(overflowing):
    (run,) = compared(events(overflowing, ["fp32"])).runs
    assert run.caution is None and torch.isfinite(torch.tensor(run.differences[0].kld if run.differences else 0.0))

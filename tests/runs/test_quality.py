"""The quality run as a stream of events: order, reference, noise floor, failures, stops, what is not repeated."""

import itertools
import json
import shutil
import threading
from dataclasses import replace
from datetime import UTC, datetime
from statistics import median

import pytest
import torch
from transformers import AutoModelForCausalLM

from quantlab.errors import BadInput, OutOfMemory
from quantlab.fidelity.reference import ScoreStore
from quantlab.fidelity.texts import pasted, text
from quantlab.methods import PRECISIONS, variant_of
from quantlab.models.source import DEMO_FOLDER
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import Model, Placement, Quality, QualitySettings
from quantlab.records.events import Measured, Measuring, QualityDone, QualityStarted
from quantlab.runs import estimates
from quantlab.runs.quality import quality
from quantlab.runtime.placement import resolve
from quantlab.runtime.variant_cache import VariantCache
from tests.comparing import Loader, fails, fails_while_running
from tests.fidelity import plain

DEMO = Model("demo", "demo", DEMO_FOLDER)
SETTINGS = QualitySettings(windows=2, new_tokens=4, placement=Placement("cpu", "float32"))


@pytest.fixture
def store(tmp_path) -> ScoreStore:
    return ScoreStore(tmp_path, 10**9)


@pytest.fixture
def loader():
    loader = Loader()
    caches = []

    def variants():
        caches.append(loader.cache())
        return caches[-1]

    loader.variants = variants
    yield loader
    for cache in caches:
        cache.drop_unused()


def run(store, loader, names, settings=SETTINGS, **options) -> list:
    given = options.pop("text", None) or text("demo")
    return list(quality(DEMO, names, given, settings, scores=store, variants=loader.variants(), **options))


def done(events: list) -> Quality:
    assert isinstance(events[-1], QualityDone)
    finished = {event.run.precision: event.run for event in events if isinstance(event, Measured)}
    assert finished == {run.precision: run for run in events[-1].quality.runs}
    return events[-1].quality


def test_everything_is_measured_the_reference_first(store, loader):
    events = run(store, loader, ["nf4", "fp32", "rtn-3"])
    started = next(event for event in events if isinstance(event, QualityStarted))
    assert started.precisions == ("fp32", "nf4", "rtn-3") and started.reference == "fp32"
    assert (started.text.windows, started.text.scored, started.text.window_tokens) == (2, 510, 512)
    found = done(events)
    assert [run.precision for run in found.runs] == ["nf4", "fp32", "rtn-3"]
    kld = {run.precision: run.fidelity.kld.mean for run in found.runs}
    assert 0 == kld["fp32"] < kld["nf4"] < kld["rtn-3"]
    # bf16 was no column, so it was read for the noise floor alone.
    assert 0 < found.noise_floor.kld.mean < kld["nf4"] and "bf16 beside fp32" in found.floor
    assert loader.loads == ["fp32", "bf16", "nf4", "rtn-3"]
    for one in found.runs:
        assert (
            one.decode_tokens_per_s == median(one.decode_samples) > 0
            and one.score_tokens_per_s > 0
            and one.load.stored_bytes > 0
        )
        assert bool(one.layers) == (one.precision != "fp32")
    told = [event for event in events if isinstance(event, Measuring) and event.precision == "nf4"]
    assert {event.stage for event in told} == {"speed", "text", "layers", "again"}


@pytest.mark.parametrize("adds", [True, False])
def test_windows_begin_with_bos_only_where_the_tokenizer_adds_it(store, loader, tmp_path, adds):
    """As in llama.cpp's perplexity, which asks the file's `add_bos_token`; having a BOS is not adding it."""
    model = DEMO if adds else without_added_bos(tmp_path)
    tokenizer, read = load_tokenizer(model), text("english")
    settings = replace(SETTINGS, noise_floor=False)
    events = list(quality(model, ["fp32"], read, settings, scores=store, variants=loader.variants()))
    ids = tokenizer.encode(read.content, add_special_tokens=False, verbose=False)
    network = AutoModelForCausalLM.from_pretrained(DEMO_FOLDER, dtype=torch.float32).eval()
    expected = {}
    for bos in (tokenizer.bos_token_id, None):
        window = plain.windows(ids, bos, 2)
        logits = plain.network_logits(network, window)
        expected[bos] = plain.figures(logits, logits, window)["ppl"]
    right, wrong = (expected[bos] for bos in ((0, None) if adds else (None, 0)))
    assert done(events).run("fp32").fidelity.ppl.value == pytest.approx(right, rel=1e-5) != pytest.approx(wrong, 1e-3)


def without_added_bos(folder) -> Model:
    """The demo with a tokenizer that has its BOS and puts it before no text."""
    shutil.copytree(DEMO_FOLDER, folder / "model")
    file = folder / "model" / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"post_processor": None}))
    return Model("without", "folder", folder / "model")


@pytest.mark.slow
def test_the_ladder_is_monotone(store, loader):
    found = done(run(store, loader, ["fp32", "rtn-8", "nf4", "fp4", "rtn-3", "rtn-2"], replace(SETTINGS, windows=10)))
    spreads = [run.fidelity.kld for run in found.runs]
    for better, worse in itertools.pairwise(spreads):
        assert better.mean + 2 * better.se < worse.mean - 2 * worse.se


@pytest.mark.slow
def test_a_gguf_variant_is_measured_like_the_others(store, loader, at_once):
    pytest.importorskip("llama_cpp")
    found = done(run(store, loader, ["fp32", "q8_0"]))
    assert 0 < found.run("q8_0").fidelity.kld.mean < 1e-3 and not found.run("q8_0").layers


@pytest.mark.slow
def test_the_reference_is_read_once(store, loader):
    first = done(run(store, loader, ["fp32", "bf16", "nf4"]))
    known = {run.precision: run for run in first.runs}
    loader.loads.clear()
    second = done(run(store, loader, ["fp32", "bf16", "nf4", "rtn-4"], known=known))
    # For what its layers make it is loaded again, and not read.
    assert loader.loads == ["fp32", "rtn-4"]
    assert second.run("fp32") == first.run("fp32") and second.noise_floor == first.noise_floor
    assert len(second.run("rtn-4").layers) == len(first.run("nf4").layers) > 0
    assert second.run("rtn-4").fidelity.kld.mean > second.run("bf16").fidelity.kld.mean


@pytest.mark.slow
def test_without_its_rows_the_reference_is_read_again(store, loader):
    known = {run.precision: run for run in done(run(store, loader, ["fp32", "bf16"])).runs}
    for file in store.root.iterdir():
        file.unlink()
    loader.loads.clear()
    again = done(run(store, loader, ["fp32", "bf16", "rtn-4"], known=known))
    assert loader.loads == ["fp32", "rtn-4"] and again.run("rtn-4").fidelity is not None


@pytest.mark.slow
def test_another_text_has_rows_of_its_own(store, loader):
    run(store, loader, ["fp32", "bf16"])
    run(store, loader, ["fp32", "bf16"], text=text("english"))
    run(store, loader, ["fp32", "bf16"], replace(SETTINGS, windows=1))
    assert len(list(store.root.iterdir())) == 3


@pytest.mark.slow
def test_a_failing_precision_takes_no_other_with_it(store, loader):
    loader.instead = {"nf4": fails(OutOfMemory("too large")), "rtn-4": fails_while_running("read", RuntimeError("x"))}
    found = done(run(store, loader, ["fp32", "nf4", "rtn-4", "rtn-3"]))
    assert found.run("nf4").error == "too large" and found.run("nf4").fidelity is None
    assert "broke" in found.run("rtn-4").error and found.run("rtn-4").decode_tokens_per_s > 0
    assert found.run("rtn-3").fidelity is not None and not found.run("rtn-3").error


def test_without_a_reference_the_rest_is_measured(store, loader):
    loader.instead = {"fp32": fails(OutOfMemory("too large"))}
    found = done(run(store, loader, ["fp32", "nf4"]))
    assert found.run("fp32").error and found.noise_floor is None and "could not be measured" in found.floor
    assert found.run("nf4").fidelity is None and found.run("nf4").load is not None
    assert any("the reference failed" in note for note in found.run("nf4").notes)


@pytest.mark.slow
def test_a_stop_keeps_what_is_finished(store, loader):
    stop = threading.Event()
    events = []
    settings = replace(SETTINGS, windows=10)
    for event in quality(
        DEMO, ["fp32", "bf16", "nf4"], text("demo"), settings, scores=store, variants=loader.variants(), stop=stop
    ):
        events.append(event)
        if isinstance(event, Measured) and event.run.precision == "bf16":
            stop.set()
    found = done(events)
    assert found.run("bf16").fidelity is not None and not found.run("bf16").stopped
    assert found.run("nf4").stopped and found.run("nf4").fidelity is None and not found.run("nf4").error


def test_a_stop_before_the_noise_floor_does_not_call_it_impossible(store, loader):
    stop = threading.Event()
    events = quality(DEMO, ["fp32", "nf4"], text("demo"), SETTINGS, scores=store, variants=loader.variants(), stop=stop)
    for event in events:
        if isinstance(event, Measured):
            stop.set()
        if isinstance(event, QualityDone):
            found = event.quality
    assert found.noise_floor is None and "not measured yet: bf16 was not read before the stop" in found.floor


def test_closing_the_events_ends_the_work(store, loader):
    events = quality(DEMO, ["fp32", "nf4"], text("demo"), SETTINGS, scores=store, variants=loader.variants())
    for event in events:
        if isinstance(event, Measuring) and event.stage == "text":
            break
    events.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("quantlab")]
    assert not list(store.root.glob("*.npy"))


@pytest.mark.parametrize(
    ("names", "options", "told"),
    [
        (["fp32"], {"text": pasted("too short")}, "one window takes 512"),
        (["fp32"], {"settings": replace(SETTINGS, windows=0)}, "At least one window"),
        (["fp32", "nosuch"], {}, "Unknown precision"),
        ([], {}, "No precision"),
        (["fp32"], {"settings": replace(SETTINGS, reference="nf4")}, "reference 'nf4' is not among"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_loads(store, loader, names, options, told):
    with pytest.raises(BadInput, match=told):
        run(store, loader, names, **options)
    assert not loader.loads


def test_a_text_of_many_tokens_a_character_is_measured(store, loader):
    found = done(run(store, loader, ["fp32"], text=pasted("日本語のテキスト😀" * 200)))
    assert found.run("fp32").fidelity is not None and found.run("fp32").decode_tokens_per_s > 0


def test_the_run_is_dated_by_its_beginning(store, loader):
    before = datetime.now(UTC)
    events = quality(DEMO, ["fp32"], text("demo"), SETTINGS, scores=store, variants=loader.variants())
    begun = next(event for event in events if isinstance(event, QualityStarted)) and datetime.now(UTC)
    assert before <= done(list(events)).started <= begun


def test_random_weights_have_no_quality():
    with pytest.raises(BadInput, match="random weights"):
        list(quality("shape:bench-100m", ["fp32"], text("demo"), SETTINGS))


@pytest.mark.slow
def test_what_lies_idle_in_memory_does_not_keep_the_noise_floor_from_being_read(store, loader, monkeypatch):
    """What earlier runs left in the cache counted as taken, though a load drops it."""
    sizes = {name: estimates.estimated_bytes(variant_of(DEMO, PRECISIONS[name], resolve(SETTINGS.placement), None))
             for name in ("fp32", "bf16", "rtn-8")}  # fmt: skip
    machine = sizes["bf16"] + sizes["rtn-8"] // 2
    cache = VariantCache(loader, estimates.estimated_bytes, lambda device, held: estimates.budget(device, held))
    with cache.lease(variant_of(DEMO, PRECISIONS["rtn-8"], resolve(SETTINGS.placement), None)):
        pass
    monkeypatch.setattr(estimates, "budget", lambda device, held=0: machine - cache.held_bytes(device) + held)
    settings = replace(SETTINGS, layers=False, windows=1, reference="bf16")
    monkeypatch.setattr("quantlab.runs.quality.ROUNDINGS", {"bf16": "fp32"})
    assert machine < sizes["fp32"]
    found = done(list(quality(DEMO, ["bf16"], text("demo"), settings, scores=store, variants=cache)))
    assert "fp32 would need" in found.floor
    machine = sizes["fp32"] + sizes["rtn-8"] // 2
    with cache.lease(variant_of(DEMO, PRECISIONS["rtn-8"], resolve(SETTINGS.placement), None)):
        pass
    found = done(list(quality(DEMO, ["bf16"], text("demo"), settings, scores=store, variants=cache)))
    assert found.noise_floor is not None and loader.loads.count("fp32") == 1
    cache.drop_unused()


@pytest.mark.slow
def test_layer_errors_that_cannot_be_measured_any_more_are_missed_aloud(store, loader):
    known = {run.precision: run for run in done(run(store, loader, ["fp32", "bf16"])).runs}
    loader.instead = {"fp32": fails(OutOfMemory("too large"))}
    again = done(run(store, loader, ["fp32", "bf16", "rtn-4"], known=known))
    told = again.run("rtn-4")
    assert told.fidelity is not None and told.layers == ()
    assert "no errors of its layers: fp32 could not be loaded again (too large)" in told.notes


@pytest.mark.slow
def test_the_noise_floor_is_not_read_where_nobody_wants_it_or_it_does_not_fit(store, loader, monkeypatch):
    off = replace(SETTINGS, noise_floor=False, layers=False)
    found = done(run(store, loader, ["fp32", "rtn-4"], settings=off))
    assert found.noise_floor is None and "switched off" in found.floor and "bf16" not in loader.loads
    loader.loads.clear()
    estimated = estimates.estimated_bytes
    monkeypatch.setattr(
        estimates, "estimated_bytes", lambda it: 10**15 if it.precision.name == "bf16" else estimated(it)
    )
    found = done(run(store, loader, ["fp32", "rtn-4"], settings=replace(SETTINGS, layers=False)))
    assert found.noise_floor is None and "bf16 would need 1,000,000 GB" in found.floor and "bf16" not in loader.loads

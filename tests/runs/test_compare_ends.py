"""How comparisons end early: stopped, left, with columns that fail, or refused before anything loads."""

import threading
import time

import pytest
import torch

from quantlab.errors import BadInput, ModelError, OutOfMemory, QuantlabError, Stopped
from quantlab.records import Model, Placement
from quantlab.records.events import Finished, Loaded, Loading, Started, Token
from quantlab.runs import compare, loading
from quantlab.settings import AppSettings
from tests import tiny
from tests.comparing import Loader, compared, done, events, fails, fails_while_running, is_complete, tokens_of
from tests.loading import small_heap

FOUR = ("fp32", "nf4", "int8", "rtn-4")
CUDA_FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
CPU_FULL = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Model:
    model = tiny.write(tmp_path_factory.mktemp("llama"), "llama")
    compared(model, ["fp32", "nf4"])  # imports, and libraries' own threads
    small_heap()
    return model


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def until_stopped(_variant, progress):
    """A load that only Stop ends."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        progress(1, 2, "for ever")
        time.sleep(0.01)
    raise AssertionError("nobody stopped this load")


@pytest.mark.slow
@pytest.mark.parametrize("race", [False, True])
def test_stop_after_the_third_token_keeps_what_is_there(llama, race):
    stop, told = threading.Event(), []
    for event in events(llama, FOUR, stop=stop, max_new_tokens=200, race=race):
        told.append(event)
        if isinstance(event, Token) and event.index == 2:
            stop.set()
    result = done(told)
    first = result.run("fp32")
    assert first.stopped and 3 <= len(first.token_ids) < 200
    assert first.text == tokens_of(told, "fp32")[-1].text
    assert len(first.timing.itl_s) == len(first.token_ids) - 1 and first.kv_cache_bytes
    if not race:
        assert len(first.token_ids) == 3
        for run in result.runs[1:]:
            assert run.stopped and run.error is None and run.load is None and run.token_ids == ()
    assert all(run.stopped for run in result.runs)


def test_stop_while_loading(llama):
    loader, stop = Loader({"nf4": until_stopped}), threading.Event()
    variants, told = loader.cache(), []
    for event in events(llama, FOUR, variants=variants, stop=stop):
        told.append(event)
        if isinstance(event, Loading) and event.what == "for ever":
            stop.set()
    result = done(told)
    assert is_complete(result.run("fp32"))
    assert [run.stopped for run in result.runs] == [False, True, True, True]
    assert loader.loads == ["fp32", "nf4"]
    assert variants.drop_unused() == 1, "only what was whole stays, and without a lease"


def test_stop_set_beforehand_computes_nothing(llama):
    stop = threading.Event()
    stop.set()
    loader = Loader()
    for model in (llama, str(llama.folder)):
        result = done(events(model, FOUR, loader=loader, stop=stop))
        assert all(run.stopped and run.token_ids == () for run in result.runs) and loader.loads == []


def test_stop_while_a_model_is_fetched_is_the_end(monkeypatch):
    stop = threading.Event()
    monkeypatch.setattr(loading.models, "resolve_main", lambda name, app, progress: until_stopped(name, progress))
    stream = events("owner/name", ["fp32"], stop=stop)
    assert next(stream) == Loading("", 1, 2, "for ever")
    stop.set()
    with pytest.raises(Stopped):
        list(stream)


@pytest.mark.parametrize("race", [False, True])
@pytest.mark.parametrize(
    "moment",
    [
        lambda event: isinstance(event, Started),
        lambda event: isinstance(event, Loading) and event.precision == "nf4",
        lambda event: isinstance(event, Loaded) and event.precision == "nf4",
        lambda event: isinstance(event, Token) and event.precision == "nf4",
        lambda event: isinstance(event, Finished),
    ],
    ids=["started", "loading", "loaded", "decoding", "finished"],
)
def test_closing_the_generator_releases_everything(llama, race, moment):
    variants = Loader().cache()
    stream = events(llama, ("fp32", "nf4"), variants=variants, max_new_tokens=100, race=race)
    for event in stream:
        if moment(event):
            break
    stream.close()
    variants.drop_unused()
    assert not variants._entries, "a lease is left, or an entry that still loads"


def test_closing_the_generator_in_the_middle_of_a_load_ends_the_load(llama):
    loader = Loader({"fp32": until_stopped})
    variants = loader.cache()
    stream = events(llama, ("fp32", "nf4"), variants=variants)
    next(event for event in stream if isinstance(event, Loading) and event.what == "for ever")
    begun = time.monotonic()
    stream.close()
    assert time.monotonic() - begun < 5 and loader.loads == ["fp32"]
    assert not variants._entries


FAILURES = {
    "no room for the weights": fails(OutOfMemory("No room.", "Choose fewer bits.")),
    "damaged weights": fails(ModelError("The file is damaged.", "Copy it again.")),
    "full while warming up": fails_while_running("forward", CUDA_FULL),
    "full while decoding": fails_while_running("forward", CPU_FULL, after=6),
    "full while reading the reference": fails_while_running("score", MemoryError()),
}


@pytest.mark.parametrize("race", [False, True])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_column_that_fails_takes_no_other_with_it(llama, failure, race):
    loader = Loader({"int8": FAILURES[failure]})
    variants = loader.cache()
    result = compared(llama, FOUR, variants=variants, race=race)
    failed = result.run("int8")
    assert failed.error and failed.advice and failed.differences == () and not failed.stopped
    if failure.startswith("full"):
        assert "memory" in failed.error
    for name in ("fp32", "nf4", "rtn-4"):
        assert is_complete(result.run(name)), name
    assert len(result.run("rtn-4").differences) == 8
    assert {run.timings_count for run in result.runs} == {not race}
    variants.drop_unused()
    assert not variants._entries, "no lease is left"


def test_without_the_reference_the_others_still_answer(llama):
    result = compared(llama, FOUR, loader=Loader({"fp32": FAILURES["no room for the weights"]}))
    assert result.reference == "fp32" and result.run("fp32").error
    for run in result.runs[1:]:
        assert is_complete(run) and run.differences == () and run.first_divergence is None


def test_a_defect_costs_its_own_column_and_goes_to_the_log(llama, caplog):
    variants = Loader({"nf4": fails(AttributeError("'NoneType' object has no attribute 'shape'"))}).cache()
    result = compared(llama, FOUR, variants=variants)
    assert result.run("nf4").error == "nf4 broke: AttributeError."
    assert all(is_complete(result.run(name)) for name in FOUR if name != "nf4")
    (record,) = caplog.records
    assert "has no attribute 'shape'" in record.exc_text


def test_a_precision_whose_package_is_missing_is_one_column_with_the_reason(llama, monkeypatch):
    monkeypatch.setattr("quantlab.methods.bitsandbytes.missing_package", lambda name: name == "bitsandbytes")
    result = compared(llama, ("nf4", "rtn-4", "int8"))
    for name in ("nf4", "int8"):
        assert result.run(name).error == (
            f"{name} cannot run here: it needs the package bitsandbytes: pip install bitsandbytes."
        )
    assert result.reference == "rtn-4" and is_complete(result.run("rtn-4")), "what can run is the reference"


@pytest.mark.parametrize(
    ("wrong", "words", "advice"),
    [
        ({"prompt": ""}, "prompt is empty", "Type"),
        ({"prompt": " \n "}, "prompt is empty", "Type"),
        (
            {"prompt": "a" * 256},
            "257 tokens and 8 new ones exceed the model's context of 256",
            "to fewer than 256 tokens",
        ),
        ({"prompt": "a" * 99, "max_new_tokens": 157}, "exceed the model's context of 256", "at most 156 new tokens"),
        ({"max_new_tokens": 0}, "At least one new token", "Raise"),
        ({"precisions": ("fp32", "q4")}, "Unknown precision 'q4'", "nf4-dq"),
        ({"precisions": ()}, "No precision", "fp32"),
        ({"precisions": ("nf4", "nf4")}, "more than once: nf4", "once"),
        ({"reference": "fp16"}, "'fp16' is not among the precisions", "fp32, nf4"),
        ({"placement": Placement("cpu", "int8")}, "int8 cannot be a compute dtype", "bfloat16"),
        ({"placement": Placement("cpu", "half")}, "Unknown compute dtype 'half'", "float16"),
        ({"placement": Placement("tpu")}, "Unknown device 'tpu'", "cpu, cuda"),
        ({"sample": True, "temperature": 0.0}, "temperature", "sampling off"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_refused_before_anything_loads(llama, wrong, words, advice):
    loader = Loader()
    asked = {"precisions": ("fp32", "nf4"), **wrong}
    with pytest.raises(BadInput, match=words) as error:
        list(events(llama, loader=loader, **asked))
    assert advice in error.value.advice and loader.loads == []


def test_the_context_can_be_filled_to_its_last_token(llama):
    run = compared(llama, ["fp32"], prompt="a" * 250, max_new_tokens=5).runs[0]
    assert is_complete(run) and len(run.timing.itl_s) == 4


@pytest.mark.parametrize("name", ["what is this", "shape:none", "/no/such/folder", "a/b/c"])
def test_an_unknown_model_is_refused(name):
    with pytest.raises(QuantlabError) as error:
        list(events(name, ["fp32"]))
    assert isinstance(error.value, BadInput | ModelError) and error.value.advice
    if name in ("what is this", "shape:none"):
        assert "shape:bench-100m" in error.value.advice


def test_a_model_by_its_name_tells_of_its_reading_first(llama):
    told = list(events(str(llama.folder), ["fp32"]))
    assert is_complete(done(told).runs[0])
    assert isinstance(told[0], Started | Loading)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"max_new_tokens": 33}, "at most 32 tokens"),
        ({"prompt": "a" * 20}, "has 21 tokens, and here at most 20"),
    ],
)
def test_public_limits_hold(llama, monkeypatch, asked, words):
    app = AppSettings(public=True, max_new_tokens=32, max_prompt_tokens=20)
    for module in (compare, loading):
        monkeypatch.setattr(module, "app_settings", lambda: app)
    with pytest.raises(BadInput, match=words):
        list(events(llama, ["fp32"], **asked))
    assert is_complete(compared(llama, ["fp32"], prompt="a" * 19, max_new_tokens=32).runs[0])
    for path in (str(llama.folder), "../demo", "owner/name"):
        with pytest.raises(BadInput, match="Unknown model"):
            list(events(path, ["fp32"]))

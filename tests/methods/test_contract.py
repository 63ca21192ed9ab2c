"""What every method promises. Parametrised over the tables: a new method or precision is covered as it stands."""

import gc
import importlib.util
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from quantlab import models
from quantlab.errors import BadInput, Stopped
from quantlab.methods import METHODS, PRECISIONS, method_of, most_precise, precision, precisions
from quantlab.methods.weights import DTYPE_BYTES
from quantlab.records import Placement
from quantlab.runtime.placement import resolve
from quantlab.runtime.session import LoadedModel
from quantlab.runtime.torch_session import TorchModel
from quantlab.teach.plan.memory import kv_cache_bytes, kv_type
from quantlab.teach.plan.network import network
from tests.loading import load

ROOT = Path(__file__).resolve().parents[2]
PROMPT = [1, *range(40, 52)]
ANSWER = [55, 60, 61, 70, 80, 99, 100, 101]
#: Keys and values of the small Llama: 2 of them, 2 layers, 2 heads of size 16.
KV_VALUES = 2 * 2 * 2 * 16


@pytest.fixture(scope="module", params=PRECISIONS)
def name(request, llama) -> str:
    chosen = PRECISIONS[request.param]
    reason = method_of(chosen).refuses(chosen, models.checkpoint(llama), "cpu")
    if reason:
        pytest.skip(f"not for this model on a CPU: it {reason}")
    return request.param


def runs_here(llama, method) -> str | None:
    """The last precision of a method that the small Llama can be had at on a CPU."""
    names = [p.name for p in method.precisions if not method.refuses(p, models.checkpoint(llama), "cpu")]
    return names[-1] if names else None


@pytest.fixture(scope="module")
def loaded(llama, name):
    loaded = load(llama, name)
    yield loaded
    loaded.close()


def stepwise(loaded: LoadedModel) -> torch.Tensor:
    """Log-probabilities `[answer, vocabulary]` got by feeding one token after the other."""
    session = loaded.start()
    logits = [session.forward(PROMPT), *(session.forward([token]) for token in ANSWER[:-1])]
    return torch.log_softmax(torch.stack(logits).float(), dim=-1)


def tolerance(loaded: LoadedModel) -> float:
    """In nats. Products in 16 bits round differently for another number of rows."""
    return 1e-3 if loaded.facts.compute_dtype == "float32" else 0.5


def test_names_are_unique_and_belong_to_their_table():
    names = [p.name for method in METHODS.values() for p in method.precisions]
    assert sorted(names) == sorted(set(names)) == sorted(PRECISIONS)
    for key, method in METHODS.items():
        assert method.name == key
        # Nobody ticks what is made on the way.
        assert {p.method for p in method.precisions} == ({key} if key != "dequantized" else set())
    for chosen in PRECISIONS.values():
        assert 1 < chosen.bits <= 32 and chosen.summary.strip() and "," not in chosen.name


def test_names_lead_to_precisions_or_to_an_error_with_the_valid_ones():
    assert [p.name for p in precisions(["nf4", "fp32"])] == ["nf4", "fp32"]
    with pytest.raises(BadInput, match="Did you mean nf4") as unknown:
        precision("nf44")
    assert all(name in unknown.value.advice for name in PRECISIONS)
    with pytest.raises(BadInput, match="No precision"):
        precisions([])
    with pytest.raises(BadInput, match="more than once: fp32"):
        precisions(["fp32", "nf4", "fp32"])
    assert most_precise(precisions(["rtn-2", "bf16", "fp16"])).name == "bf16", "it reaches farther"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_unavailable_gives_no_reason_or_words(method, device, monkeypatch):
    assert method.unavailable("cpu") is None, "everything is installed where the tests run"
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    reason = method.unavailable(device)
    # It goes on from "it ...", and what to type stands at its end.
    assert reason is None or (reason == reason.strip() and reason[0].islower() and "pip install" in reason)


def test_asking_whether_a_method_can_run_imports_nothing_heavy():
    code = """
import sys
from quantlab import models
from quantlab.runs import estimates
from quantlab.records import Placement
from quantlab.settings import AppSettings
print(len(estimates.estimates(models.peek("demo", AppSettings()), Placement("cpu"))))
heavy = {"torch", "transformers", "bitsandbytes", "accelerate", "gptqmodel", "llama_cpp", "torchao", "hqq"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == "[]"


@pytest.mark.parametrize("block", [1, 3, 128])
def test_scores_are_what_feeding_step_by_step_gives(loaded, block):
    expected = stepwise(loaded)
    blocks = list(loaded.start().score([*PROMPT, *ANSWER], start=len(PROMPT), block=block))
    assert all(len(b) <= block and b.dtype == torch.float32 for b in blocks)
    scores = torch.cat(blocks)
    assert scores.shape == (len(ANSWER), loaded.vocabulary_size)
    assert scores.logsumexp(-1).abs().max() < 1e-3
    assert (scores - expected).abs().max() < tolerance(loaded)
    assert (scores - expected.roll(1, 0)).abs().max() > 4 * tolerance(loaded), "rows in a wrong order would pass"


def test_what_is_planned_is_what_is_stored(llama, name):
    """Byte for byte and part by part, before the first product. The kernels of GPTQ bring tables of their own, some
    bytes a layer, whatever its size."""
    chosen = precision(name)
    planned = method_of(chosen).parts(chosen, resolve(Placement("cpu", "float32")), models.checkpoint(llama))
    loaded = load(llama, name)
    stored = loaded.storage().parts
    loaded.close()
    tables = stored["quantization"] - planned["quantization"]
    assert stored | {"quantization": tables} == planned | {"quantization": tables}
    assert 0 <= tables <= (14 * 160 if chosen.method in ("gptq", "awq") else 0)


def test_the_cache_of_keys_and_values_takes_exactly_the_bytes_of_its_tokens(loaded, llama, name):
    chosen = precision(name)
    dtype = method_of(chosen).dtype(chosen, resolve(Placement("cpu", "float32")))
    session = loaded.start(len(PROMPT) + len(ANSWER))
    assert session.length == 0
    reserved = session.kv_cache_bytes()
    each = KV_VALUES * DTYPE_BYTES[dtype]
    if reserved:  # all at once, for at least what was asked for, in whole blocks
        assert reserved % each == 0 and reserved >= (len(PROMPT) + len(ANSWER)) * each
        assert loaded.start().kv_cache_bytes() >= loaded.context_length * each
    session.forward(PROMPT)
    planned = network(models.checkpoint(llama), "the small Llama")
    for token in ANSWER:
        assert session.kv_cache_bytes() == (reserved or session.length * each)
        assert kv_cache_bytes(planned, session.length, 1, kv_type("auto", dtype)) == session.length * each
        session.forward([token])
    assert session.length == len(PROMPT) + len(ANSWER)


def test_sessions_of_one_model_do_not_disturb_each_other(loaded):
    alone = loaded.start().forward(PROMPT)
    first, second = loaded.start(), loaded.start()
    first.forward(ANSWER)
    assert torch.equal(second.forward(PROMPT), alone)
    assert first.length == len(ANSWER)


def test_the_facts_are_those_of_the_model(loaded):
    assert (loaded.vocabulary_size, loaded.context_length) == (320, 256)
    assert loaded.facts.compute_dtype and loaded.facts.kernel
    assert set(loaded.facts.device_map.values()) == {"cpu"}
    assert all(note.strip() == note != "" for note in loaded.facts.notes)
    storage = loaded.storage()
    assert loaded.stored_bytes() == storage.total == sum(storage.parts.values())
    assert 0 <= storage.mapped <= storage.total
    assert loaded.tokenize("once upon") is None or len(loaded.tokenize("once upon")) > 1


def test_progress_is_told_every_tensor_and_the_terminal_and_the_logs_nothing(llama, name, capfd, caplog):
    told = []
    with caplog.at_level(logging.DEBUG):
        loaded = load(llama, name, lambda *step: told.append(step))
        loaded.start().forward(PROMPT)
    assert told and all(0 <= done <= total for done, total, _ in told)
    if not method_of(precision(name)).kept:  # what lies on disk may be read in one piece
        tensors = models.tensors(llama)
        assert [step for step in told if step[1] == len(tensors)][: len(tensors)]
        assert {what for _, _, what in told} >= set(tensors)
    loaded.close()
    assert capfd.readouterr() == ("", "")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_closing_twice_is_harmless_and_a_closed_model_does_not_start(llama, name):
    load(llama, name).close()  # libraries make tables of their own at the first load
    before = new_bytes()
    loaded = load(llama, name)
    session = loaded.start()
    assert new_bytes() > before or not isinstance(loaded, TorchModel)
    loaded.close()
    loaded.close()
    for use in (loaded.start, loaded.storage, loaded.stored_bytes):
        with pytest.raises(RuntimeError, match="closed"):
            use()
    assert new_bytes() == before, "an old session keeps weights in memory"
    del session


def new_bytes() -> int:
    """What the tensors take that were made since the module's tests began (older ones are frozen) and are alive."""
    gc.collect()
    # type() instead of isinstance: some libraries' lazy proxies do real work when asked for their class.
    return sum(thing.nbytes for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor))


@pytest.mark.parametrize("share", [0, 0.5, 0.9])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_stopping_a_load_leaves_nothing_in_memory_and_the_next_load_works(llama, method, share):
    chosen = runs_here(llama, method)
    if chosen is None:
        pytest.skip("not for this model")
    steps = []
    load(llama, chosen, lambda *step: steps.append(step)).close()  # libraries make tables of their own at first
    before, stop_at, seen = new_bytes(), int(share * len(steps)), []

    def stop(*step) -> None:
        seen.append(step)
        if len(seen) > stop_at:
            raise Stopped

    with pytest.raises(Stopped):
        load(llama, chosen, stop)
    assert new_bytes() == before
    loaded = load(llama, chosen)
    assert torch.isfinite(loaded.start().forward(PROMPT)).all()
    loaded.close()


@pytest.mark.slow
def test_nothing_reaches_a_terminal(llama):
    """In a process of its own: pytest itself takes the records that logging would print to standard error."""
    code = f"""
from pathlib import Path
from quantlab import models
from quantlab.methods import PRECISIONS, method_of
from quantlab.records import Model
from tests.loading import load
model = Model("llama", "folder", Path({str(llama.folder)!r}))
for name, chosen in PRECISIONS.items():
    if method_of(chosen).refuses(chosen, models.checkpoint(model), "cpu"):
        continue
    session = load(model, name).start()
    session.forward({PROMPT})
    session.forward([55])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("stop_at", [5, 18])
def test_a_stopped_load_leaves_nothing_while_its_error_lives(llama, stop_at):
    """Whoever holds the error (a column, a thread's outcome) holds its traceback, and must not hold the model by it."""

    def stop(done: int, _total: int, _what: str) -> None:
        if done == stop_at:
            raise Stopped

    load(llama, "fp32").close()
    before = new_bytes()
    with pytest.raises(Stopped) as stopped:
        load(llama, "fp32", stop)
    assert stopped.value.__traceback__ is not None and new_bytes() == before

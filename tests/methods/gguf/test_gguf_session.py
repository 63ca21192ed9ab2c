"""llama.cpp behind `LoadedModel` and `Session`."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from quantlab.errors import BadInput, Stopped
from quantlab.methods import precision
from quantlab.methods.gguf import building, load_file
from quantlab.methods.gguf import session as sessions
from quantlab.methods.gguf.export import export
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import Model, ResolvedPlacement, Variant, silent
from tests.methods.gguf import making

ROOT = Path(__file__).resolve().parents[3]
CPU = ResolvedPlacement("cpu", "float32")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    settings, tokenizer = making.FAMILIES["qwen3"]
    return making.write(tmp_path_factory.mktemp("qwen3"), settings(), tokenizer())


@pytest.fixture(scope="module")
def file(model) -> Path:
    export(model, building._config(model), model.folder / "model.gguf", silent)
    return model.folder / "model.gguf"


@pytest.fixture
def loaded(file, model):
    loaded = load_file(file, model, CPU, silent)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def ids(model) -> list[int]:
    return load_tokenizer(model).encode(making.text())


def stepwise(session, ids: list[int], start: int) -> torch.Tensor:
    logits = [session.forward(ids[:start]), *(session.forward([token]) for token in ids[start:-1])]
    return torch.log_softmax(torch.stack(logits), dim=-1)


@pytest.mark.parametrize("block", [1, 7, 128, 1_000])
def test_scores_are_what_feeding_step_by_step_gives(loaded, ids, block):
    few = ids[:100]
    blocks = list(loaded.start(100).score(few, 5, block))
    assert all(len(rows) <= block and rows.dtype == torch.float32 for rows in blocks)
    scores, expected = torch.cat(blocks), stepwise(loaded.start(100), few, 5)
    assert scores.shape == (95, loaded.vocabulary_size) == (95, 640)
    assert (scores - expected).abs().max() < 1e-3
    assert (scores - expected.roll(1, 0)).abs().max() > 1


def test_a_prompt_longer_than_a_batch_is_fed_in_pieces(loaded, ids):
    long = ids[:1_300]
    session = loaded.start(1_300)
    logits = session.forward(long[:-1])
    assert session.length == 1_299
    expected = torch.cat(list(loaded.start(1_300).score(long, 1_299)))
    assert (torch.log_softmax(logits, -1) - expected[-1]).abs().max() < 1e-3


def test_logits_are_a_copy(loaded, ids):
    session = loaded.start(64)
    first = session.forward(ids[:5])
    kept = first.clone()
    session.forward(ids[5:6])
    assert torch.equal(first, kept) and first.device.type == "cpu" and first.shape == (640,)


def test_two_contexts_do_not_disturb_each_other(loaded, ids):
    alone = loaded.start(64).forward(ids[:20])
    one, other = loaded.start(64), loaded.start(64)
    one.forward(ids[30:50])
    assert torch.equal(other.forward(ids[:20]), alone)
    one.forward([7])
    after = loaded.start(64)
    after.forward(ids[:20])
    assert torch.equal(other.forward([9]), after.forward([9]))


def test_the_cache_is_what_was_reserved(loaded):
    # Keys and values, 2 layers, 2 heads of size 32; llama.cpp rounds the tokens up to 256.
    per_token = 2 * 2 * 2 * 32
    assert loaded.start(100).kv_cache_bytes() == 256 * per_token * 4
    assert loaded.start(257).kv_cache_bytes() == 512 * per_token * 4
    assert loaded.start().kv_cache_bytes() == 2_048 * per_token * 4


def test_keys_and_values_are_halves_where_products_are(file, model, ids):
    halves = load_file(file, model, ResolvedPlacement("cpu", "bfloat16"), silent)
    assert halves.start(256).kv_cache_bytes() == 256 * 2 * 2 * 2 * 32 * 2
    whole = load_file(file, model, CPU, silent)
    one, other = (it.start(256).forward(ids[:200]).log_softmax(-1) for it in (halves, whole))
    assert 0 < (one - other).abs().max() < 0.5
    halves.close()
    whole.close()


def test_more_tokens_than_there_is_room_for_are_refused(loaded, ids):
    session = loaded.start(10)
    session.forward(ids[:10])
    for more in ([5], [5, 6]):
        with pytest.raises(BadInput, match="more tokens than the 10"):
            session.forward(more)
    assert session.length == 10
    with pytest.raises(BadInput, match="at most 2048"):
        loaded.start(2_049)
    with pytest.raises(ValueError, match="no tokens"):
        loaded.start(10).forward([])
    with pytest.raises(ValueError, match="empty session"):
        list(session.score([1, 2], 1))


def test_a_token_that_the_model_does_not_have_is_an_error_and_no_crash(loaded):
    session = loaded.start(10)
    with pytest.raises(RuntimeError, match="invalid token"):
        session.forward([640])
    assert session.length == 0
    assert torch.isfinite(session.forward([3])).all()


def test_a_closed_model_and_its_sessions_say_so(file, model, ids):
    loaded = load_file(file, model, CPU, silent)
    session = loaded.start(64)
    session.forward(ids[:5])
    loaded.close()
    loaded.close()
    for use, arguments in (
        (loaded.start, ()),
        (loaded.storage, ()),
        (loaded.stored_bytes, ()),
        (loaded.tokenize, ("a",)),
        (session.forward, ([5],)),
        (session.forward, ([5, 6],)),
        (session.kv_cache_bytes, ()),
    ):
        with pytest.raises(RuntimeError, match="closed"):
            use(*arguments)
    del session, use
    gc.collect()


def test_a_session_outlives_the_name_of_its_model(file, model, ids):
    session = load_file(file, model, CPU, silent).start(64)
    gc.collect()
    assert torch.isfinite(session.forward(ids[:5])).all()


def test_special_tokens_are_recognized_and_none_is_added(loaded):
    assert loaded.tokenize("<s>a</s>") == (1, *loaded.tokenize("a"), 2)
    assert loaded.tokenize("") == ()


def test_a_load_can_be_stopped(file, model):
    def stop(done: int, total: int, what: str) -> None:
        assert 0 <= done <= total and what
        raise Stopped

    with pytest.raises(Stopped):
        load_file(file, model, CPU, stop)


@pytest.mark.slow
def test_llama_cpp_says_nothing_on_a_terminal(file):
    code = f"""
from pathlib import Path
from quantlab.errors import ModelError
from quantlab.methods.gguf import load_file
from quantlab.records import Model, ResolvedPlacement, silent
file, model = Path({str(file)!r}), Model("m", "folder", Path("."))
session = load_file(file, model, ResolvedPlacement("cpu", "float32"), silent).start(64)
session.forward([1, 5, 9])
try:
    session.forward([10**6])
except RuntimeError:
    pass
broken = file.with_name("broken.gguf")
broken.write_bytes(file.read_bytes().replace(b"blk.1.ffn_up", b"blk.1.ffn_xx"))
try:
    load_file(broken, model, ResolvedPlacement("cpu", "float32"), silent)
except ModelError as error:
    assert "ffn_up" in str(error), error
else:
    raise SystemExit("a file without a weight was loaded")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A model whose rows are long enough for llama.cpp to arrange Q4_K for a kernel that takes several at once."""
    sizes = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64}
    settings, tokenizer = making.config("Llama", **sizes), making.qwen2()
    model = making.write(tmp_path_factory.mktemp("wide"), settings, tokenizer)
    file = making.built(Variant(model, precision("q4_k_m"), CPU), model.folder)
    loaded = load_file(file, model, ResolvedPlacement("cpu", "bfloat16"), silent)
    yield loaded
    loaded.close()


@pytest.mark.parametrize(("count", "start"), [(512, 257), (512, 1), (300, 40), (300, 299), (97, 96), (64, 33)])
def test_a_text_read_in_pieces_gives_the_very_logits_of_one_pass(wide, ids, count, start, monkeypatch):
    """As `llama-perplexity` reads a window. Rows that are left over in a piece would be multiplied in another way."""
    few = ids[:count]
    read = torch.cat(list(wide.start(count).read(few, start)))
    monkeypatch.setattr(sessions, "OUTPUTS", count)
    whole = wide.start(count)._decode(few, keep=count)[start - 1 : -1]
    assert torch.equal(read, whole)


def test_where_there_is_no_room_for_the_last_token_it_is_not_read(wide, ids):
    few = ids[:130]
    cut, whole = (torch.cat(list(wide.start(room).read(few, 60))) for room in (129, 130))
    assert len(cut) == len(whole) == 70 and torch.equal(cut[:60], whole[:60])
    assert (cut - whole).abs().max() < 0.5

"""A model at one precision, written as an ordinary checkpoint."""

import json
import threading

import pytest
import torch
from transformers import AutoModelForCausalLM

from quantlab.checkpoints import export
from quantlab.checkpoints.export import Saved, quantize, savable
from quantlab.checkpoints.store import MANIFEST, CheckpointStore
from quantlab.errors import BadInput, ModelError, QuantlabError, Stopped, Unavailable
from quantlab.methods import METHODS, PRECISIONS, method_of
from quantlab.records import Calibration, Placement
from quantlab.runtime.least_recent import nbytes
from quantlab.runtime.placement import resolve
from tests import tiny
from tests.loading import CALIBRATION, load

CPU = Placement("cpu", "float32")
PROMPT = [1, *range(40, 52)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("models"), "llama")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return CheckpointStore(tmp_path_factory.mktemp("store"), 10**10)


@pytest.fixture(autouse=True)
def own_store(store, monkeypatch):
    monkeypatch.setattr(export, "checkpoint_store", lambda: store)


def saved(model, name: str, out, **options) -> Saved:
    steps = quantize(str(model.folder), name, out, CPU, CALIBRATION, **options)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("name", ["fp32", "bf16", "int8", "nf4", "nf4-dq", "fp4"])
def test_plain_transformers_loads_what_was_written_and_answers_the_same(model, tmp_path, name):
    done = saved(model, name, tmp_path / "out")
    assert done.folder == tmp_path / "out" and done.nbytes == nbytes(done.folder) and not done.reused
    assert json.loads((done.folder / MANIFEST).read_text())["precision"] == name
    plain = AutoModelForCausalLM.from_pretrained(done.folder, device_map="cpu").eval()
    loaded = load(model, name)
    with torch.inference_mode():
        theirs = plain(input_ids=torch.tensor([PROMPT])).logits[0, -1].float()
    ours = loaded.start().forward(PROMPT).float()
    loaded.close()
    assert theirs.argmax() == ours.argmax()
    # In 16 bits and with activations quantized to 8, the types between layers differ and round otherwise.
    assert (theirs - ours).abs().max() < (0.05 if name in ("int8", "bf16") else 1e-4) * ours.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("name", [m.precisions[0].name for m in METHODS.values() if m.kept and m.precisions])
def test_what_is_kept_already_is_copied(model, tmp_path, name, at_once):
    first, second = (saved(model, name, tmp_path / str(i)) for i in range(2))
    assert (first.reused, second.reused) == (False, True)
    assert first.nbytes == second.nbytes and first.build_s == second.build_s


def test_every_precision_can_be_written_or_says_why_not(model, tmp_path):
    """Those that need no long work; the others have tests of their own."""
    for name in PRECISIONS:
        method = method_of(PRECISIONS[name])
        if method.kept or method.unavailable("cpu"):
            continue
        try:
            assert saved(model, name, tmp_path / name).nbytes > 0
        except Unavailable as error:
            assert name in error.what
            assert not (tmp_path / name).exists()


def test_a_folder_in_use_is_not_written_over(model, tmp_path):
    (tmp_path / "out").mkdir()
    assert saved(model, "fp32", tmp_path / "out").nbytes, "an empty folder is free"
    with pytest.raises(BadInput, match="not empty"):
        saved(model, "fp32", tmp_path / "out")
    (tmp_path / "file").write_text("in the way")
    for place, says in ((tmp_path / "file", "not empty"), (tmp_path / "file" / "below", "file"), ("  ", "No folder")):
        with pytest.raises(QuantlabError, match=says):
            saved(model, "fp32", place)


def test_a_stop_leaves_nothing_behind(model, tmp_path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        saved(model, "nf4", tmp_path / "out", stop=stop)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_quantized_again_is_refused(model, tmp_path):
    first = saved(model, "nf4", tmp_path / "nf4")
    steps = quantize(str(first.folder), "fp4", tmp_path / "again", CPU)
    with pytest.raises(Unavailable, match="quantized already"):
        list(steps)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("name", [one.name for m in METHODS.values() for one in m.precisions[:1] if not savable(one)])
def test_what_no_other_program_reads_is_refused_before_anything_is_looked_for(tmp_path, name):
    with pytest.raises(Unavailable, match=f"{name} has no checkpoint of its own.*gptq-4"):
        quantize("./nowhere", name, tmp_path / "out", CPU)


def test_a_folder_that_cannot_be_is_named_before_the_model_is_looked_for(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match=r"/file/out cannot be created"):
        list(quantize("./nowhere", "nf4", tmp_path / "file" / "out", CPU))


def test_what_a_killed_build_left_beside_its_output_goes_with_the_next(model, store, tmp_path):
    left = tmp_path / ".out.0a1b"
    left.mkdir()
    (store.root / ".elsewhere").mkdir(parents=True, exist_ok=True)
    (store.root / ".elsewhere" / "0a1b").write_text(str(left))
    saved(model, "fp32", tmp_path / "other")
    assert [p.name for p in tmp_path.iterdir()] == ["other"] and not any((store.root / ".elsewhere").iterdir())


def test_a_precision_and_a_model_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(BadInput, match="Did you mean nf4"):
        list(quantize("demo", "nf44", tmp_path / "out", CPU))
    with pytest.raises(ModelError, match="no folder"):
        list(quantize("./nowhere", "nf4", tmp_path / "out", CPU))
    assert list(tmp_path.iterdir()) == []


def test_a_calibration_text_counts_only_where_it_is_read(model):
    from quantlab.methods import variant_of

    one, other = (variant_of(model, PRECISIONS["nf4"], resolve(CPU), Calibration(samples=n)) for n in (1, 2))
    assert one == other


def test_the_page_offers_all_that_can_be_saved():
    from quantlab.ui.compare.save import savable as offered

    assert {"gptq-4", "q4_k_m", "nf4", "int8", "bf16"} <= set(offered())
    assert set(offered()) == {name for name, one in PRECISIONS.items() if savable(one)}

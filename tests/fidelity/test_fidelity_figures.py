"""Every figure of fidelity against a plain script (tests/fidelity/plain.py), for torch and llama.cpp alike."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from quantlab.checkpoints.load import GGUF_NAME
from quantlab.fidelity import reading
from quantlab.fidelity.figures import fidelity
from quantlab.fidelity.reading import read_reference, read_variant
from quantlab.fidelity.reference import ScoreStore
from quantlab.fidelity.texts import text
from quantlab.fidelity.windows import windows
from quantlab.methods import PRECISIONS, method_of
from quantlab.models.source import DEMO_FOLDER
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import Fidelity, Model, Placement, silent
from quantlab.runs.plan import Entrant, refusal
from tests.fidelity import plain
from tests.loading import LITTLE, load, store, variant

DEMO = Model("demo", "demo", DEMO_FOLDER)
FLOAT32 = Placement("cpu", compute_dtype="float32")
WINDOWS = 4
#: All that a CPU can run, and that this model's weights can be made into.
NAMES = [name for name, one in PRECISIONS.items() if name != "fp32" and not refusal(Entrant(one, DEMO), "cpu")]


@pytest.fixture(scope="module")
def ids() -> list[int]:
    return load_tokenizer(DEMO).encode(text("demo").content, add_special_tokens=False, verbose=False)


@pytest.fixture(scope="module")
def reference(ids, tmp_path_factory):
    """Our rows of fp32, our figures of it, and the plain script's logits."""
    read = windows(ids, 0, 1_024, WINDOWS)
    loaded = load(DEMO, "fp32", placement=FLOAT32)
    kept = ScoreStore(tmp_path_factory.mktemp("scores"), 10**9)
    rows, positions = read_reference(loaded, read, kept, "fp32", silent)
    theirs = plain.network_logits(loaded.network, plain.windows(ids, 0, WINDOWS))
    loaded.close()
    return rows, fidelity(positions, WINDOWS), theirs


def by_plain_name(found: Fidelity) -> dict[str, float]:
    spread = found.kld
    return {
        "kld": spread.mean, "kld_se": spread.se, "kld_reverse": found.kld_reverse.mean, "kld_0.5": spread.median,
        "kld_0.9": spread.p90, "kld_0.99": spread.p99, "kld_0.999": spread.p999, "kld_1.0": spread.max,
        "same_top": found.same_top, "delta_p_mean": found.delta_p_mean, "delta_p_rms": found.delta_p_rms,
        "ppl": found.ppl.value, "ppl_se": found.ppl.se, "ratio": found.ppl.ratio, "ratio_se": found.ppl.ratio_se,
    }  # fmt: skip


def tolerance(name: str) -> tuple[float, float]:
    """Relative and absolute. float32 and float64 log-softmax differ by 1e-6 near zero."""
    if name in ("kld", "kld_reverse"):
        return 1e-3, 1e-6
    if name in ("ppl", "ratio"):
        return 1e-5, 0
    return 1e-2, 1e-6 if name.startswith("kld") else 2e-3


def test_the_windows_are_the_plain_script_s(ids):
    read = windows(ids, 0, 1_024, WINDOWS)
    assert [list(window) for window in read.ids] == plain.windows(ids, 0, WINDOWS)
    assert (read.first, read.size, read.scored) == (plain.FIRST, plain.WINDOW, 255 * WINDOWS)
    assert read.following() == tuple(i for window in plain.windows(ids, 0, WINDOWS) for i in window[257:])


def test_the_reference_is_no_distance_from_itself(reference, ids):
    _, found, theirs = reference
    expected = plain.figures(theirs, theirs, plain.windows(ids, 0, WINDOWS))
    assert found.kld.max == found.kld_reverse.max == 0 and found.same_top == 1 and found.ppl.ratio == 1
    assert found.ppl.value == pytest.approx(expected["ppl"], rel=1e-5)
    assert found.ppl.se == pytest.approx(expected["ppl_se"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_figures_are_the_plain_script_s(reference, ids, name):
    rows, _, theirs = reference
    loaded = load(DEMO, name, placement=FLOAT32, calibration=LITTLE)
    found = fidelity(read_variant(loaded, windows(ids, 0, 1_024, WINDOWS), rows, silent), WINDOWS)
    read = plain.windows(ids, 0, WINDOWS)
    if method_of(PRECISIONS[name]).name == "gguf":
        file = store().get(variant(DEMO, name, FLOAT32, LITTLE), silent).folder / GGUF_NAME
        ours = plain.llama_logits(str(file), read)
    else:
        ours = plain.network_logits(loaded.network, read)
    loaded.close()
    expected = plain.figures(ours, theirs, read)
    off = {
        figure: (value, expected[figure])
        for figure, value in by_plain_name(found).items()
        if value != pytest.approx(expected[figure], rel=tolerance(figure)[0], abs=tolerance(figure)[1])
    }
    assert not off
    assert found.nonfinite == found.excluded == 0 and len(found.window_kld) == WINDOWS


def test_small_blocks_give_the_same(reference, ids, monkeypatch):
    rows, _, _ = reference
    loaded = load(DEMO, "nf4", placement=FLOAT32)
    read = windows(ids, 0, 1_024, 2)
    whole = read_variant(loaded, read, rows, silent)
    monkeypatch.setattr(reading, "BLOCK_ELEMENTS", {"cpu": 20_000})
    small = read_variant(loaded, read, rows, silent)
    loaded.close()
    np.testing.assert_allclose(small.kld, whole.kld, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(small.same_top, whole.same_top)


def test_buckets_hold_every_token_once(reference, ids):
    rows, _, theirs = reference
    loaded = load(DEMO, "nf4", placement=FLOAT32)
    found = fidelity(read_variant(loaded, windows(ids, 0, 1_024, WINDOWS), rows, silent), WINDOWS)
    loaded.close()
    confidence = torch.tensor(theirs).softmax(-1).max(-1).values
    for bucket in found.buckets:
        inside = (confidence > bucket.low) & (confidence <= bucket.high)
        assert bucket.tokens == pytest.approx(int(inside.sum()), abs=1)
    assert sum(bucket.tokens for bucket in found.buckets) == found.tokens
    mean = sum(bucket.kld * bucket.tokens for bucket in found.buckets) / found.tokens
    assert mean == pytest.approx(found.kld.mean, rel=1e-9)
    assert asdict(found)["window_kld"] and sum(found.window_kld) / WINDOWS == pytest.approx(found.kld.mean, rel=1e-9)

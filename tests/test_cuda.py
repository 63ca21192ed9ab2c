"""The main job on a CUDA device: the same answers, exact memory, and nothing left behind."""

import pytest
import torch

from quantlab.fidelity import layers
from quantlab.fidelity.figures import fidelity
from quantlab.fidelity.reading import read_reference, read_variant
from quantlab.fidelity.reference import ScoreStore
from quantlab.fidelity.windows import windows
from quantlab.methods import PRECISIONS
from quantlab.records import Model, Placement, silent
from quantlab.runtime.placement import compute_dtype
from tests import tiny
from tests.comparing import Loader, compared, is_complete
from tests.loading import load

pytestmark = pytest.mark.gpu

CHOSEN = ("fp32", "bf16", "int8", "nf4", "nf4-dq", "rtn-4")
CUDA = Placement("cuda")


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Model:
    return tiny.write(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def whole(llama):
    return compared(llama, CHOSEN, placement=CUDA, max_new_tokens=16)


def test_every_precision_answers_with_all_its_figures(whole):
    for run in whole.runs:
        assert is_complete(run), (run.precision, run.error)
        assert all(where.startswith(("cuda", "0")) for where in run.load.device_map.values())
    assert whole.machine.device.startswith("cuda (") and whole.machine.bandwidth > 50e9
    assert whole.settings.placement.device == "cuda"


def test_the_peak_has_three_figures(whole):
    for run in whole.runs:
        peak = run.peak
        assert not peak.estimate and peak.bytes == peak.allocated
        assert run.load.running_bytes <= peak.allocated < run.load.running_bytes + 2**28
        assert peak.reserved > 0 and (peak.process is None or peak.process > peak.reserved)


def test_full_precision_gives_the_tokens_of_the_cpu(llama, whole):
    on_cpu = compared(llama, ["fp32"], max_new_tokens=16).run("fp32")
    assert whole.run("fp32").token_ids == on_cpu.token_ids
    assert whole.run("fp32").kv_cache_bytes == on_cpu.kv_cache_bytes


def test_the_default_compute_dtype_is_what_the_device_has(llama, whole):
    default = "bfloat16" if torch.cuda.get_device_capability(0) >= (8, 0) else "float32"
    assert compute_dtype(None, "cuda") == whole.settings.placement.compute_dtype == default
    for name in ("nf4", "rtn-4"):
        assert whole.run(name).load.compute_dtype == default
    loaded = load(llama, "nf4", placement=Placement("cuda", "float16"))
    assert loaded.facts.compute_dtype == "float16"
    assert loaded.module.lm_head.weight.dtype == torch.float16
    loaded.close()


@pytest.mark.parametrize("name", PRECISIONS)
def test_after_a_drop_the_memory_is_exactly_what_it_was(llama, name):
    def once() -> None:
        loaded = load(llama, name, placement=CUDA)
        session = loaded.start()
        session.forward([1, 40, 41])
        session.forward([42])
        assert torch.cuda.memory_allocated() >= before + loaded.stored_bytes()
        loaded.close()

    before = 0
    once()  # libraries allocate workspaces of their own at the first product
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    once()
    assert torch.cuda.memory_allocated() == before


def test_a_comparison_leaves_nothing_on_the_device(llama, whole):
    variants = Loader().cache()
    before = torch.cuda.memory_allocated()
    compared(llama, CHOSEN, variants=variants, placement=CUDA)
    assert torch.cuda.memory_allocated() > before
    assert variants.drop_unused() == len(CHOSEN)
    assert torch.cuda.memory_allocated() == before


def test_fidelity_is_that_of_the_cpu(llama, tmp_path):
    ids = list(range(3, 300)) * 4
    read = windows(ids, 1, 256, 3)
    found = {}
    for device in ("cpu", "cuda"):
        store = ScoreStore(tmp_path / device, 10**9)
        reference, other = (load(llama, name, placement=Placement(device, "float32")) for name in ("fp32", "rtn-4"))
        rows, _ = read_reference(reference, read, store, "a", silent)
        found[device] = fidelity(read_variant(other, read, rows, silent), 3)
        errors = layers.errors(other.network, read.ids[0][:32], layers.outputs(reference.network, read.ids[0][:32]))
        assert all(0 < error.isolated < 1 for error in errors)
        reference.close()
        other.close()
    assert found["cuda"].kld.mean == pytest.approx(found["cpu"].kld.mean, rel=1e-2)
    assert found["cuda"].ppl.ratio == pytest.approx(found["cpu"].ppl.ratio, rel=1e-3)

"""What is offered before anything loads, as far as it depends on what is installed."""

import os

import pytest

import quantlab
from quantlab import models
from quantlab.checkpoints.load import load_variant
from quantlab.errors import BadInput
from quantlab.methods import METHODS, base, gguf, precision
from quantlab.records import Model, Placement, Variant
from quantlab.runs import estimates
from quantlab.runtime import hardware
from quantlab.runtime import placement as placements
from quantlab.runtime.variant_cache import VariantCache
from quantlab.settings import AppSettings
from tests import tiny


@pytest.fixture
def demo():
    return models.peek("demo", AppSettings(public=False))


def test_a_package_that_is_installed_meanwhile_is_found(demo, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    assert base.missing_package("installed_meanwhile")
    before = tmp_path.stat()
    (tmp_path / "installed_meanwhile.py").write_text("")
    # So quick that the folder's time does not tell: Python then trusts what it has listed.
    os.utime(tmp_path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert base.missing_package("installed_meanwhile")
    estimates.estimates(demo, Placement("cpu"))
    assert not base.missing_package("installed_meanwhile")


def test_without_llama_cpp_the_reason_names_the_target_that_installs_it(demo, monkeypatch):
    monkeypatch.setattr(gguf, "missing_package", lambda module: module == "llama_cpp")
    found = {one.precision.name: one for one in estimates.estimates(demo, Placement("cpu"))}
    reasons = {found[one.name].unavailable for one in METHODS["gguf"].precisions}
    assert len(reasons) == 1 and "make gguf" in reasons.pop()


GB = 10**9
WHOLE = tuple((name, "cuda") for name in ("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"))


def layers(first: str, *rest: str, count: int = 32) -> tuple[tuple[str, str], ...]:
    """The layers of a model in equal parts over these devices, all else on the first GPU."""
    devices = (first, *rest)
    return (*WHOLE, *((f"model.layers.{i}", devices[i * len(devices) // count]) for i in range(count)))


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with two GPUs, 20 GB free on each, and 100 GB beside them."""
    free = {"cuda": 20 * GB, "cuda:1": 20 * GB, "cpu": 100 * GB}
    gpu = lambda i: hardware.Gpu(i, "A100", 24 * GB, 20 * GB, (8, 0))  # noqa: E731
    monkeypatch.setattr(hardware, "gpus", lambda: (gpu(0), gpu(1)))
    monkeypatch.setattr(hardware, "free_bytes", lambda device: free[device])
    monkeypatch.setattr(estimates, "BUDGET_SHARE", 1.0)
    return free


def mistral(device_map, name: str = "bf16") -> Variant:
    placement = placements.resolve(Placement("cuda", "bfloat16", device_map))
    return Variant(Model("shape:Mistral-7B-v0.3", "shape", None), precision(name), placement)


def test_without_a_map_all_has_to_lie_on_the_one_device(two_gpus):
    (need,) = estimates.needs(mistral(None))
    assert need.devices == ("cuda",) and need.nbytes == estimates.estimated_bytes(mistral(None)) > 14 * GB


def test_auto_may_take_every_gpu_and_the_cpu(two_gpus):
    (need,) = estimates.needs(mistral("auto"))
    assert need.devices == ("cuda", "cuda:1", "cpu") and need.nbytes == estimates.estimated_bytes(mistral(None))
    checkpoint = models.checkpoint(mistral(None).model)
    estimate = estimates.estimate(precision("fp32"), checkpoint, mistral("auto").placement)
    assert estimate.estimated_bytes > 28 * GB and estimate.free_bytes == 140 * GB and estimate.fits
    assert not estimates.estimate(precision("fp32"), checkpoint, mistral(None).placement).fits, "29 GB on one of 20"


@pytest.mark.parametrize("name", ["bf16", "nf4", "rtn-4", "hqq-4"])
def test_a_map_is_counted_by_module(two_gpus, name):
    found = {need.devices: need.nbytes for need in estimates.needs(mistral(layers("cuda", "cuda:1"), name))}
    total = estimates.estimated_bytes(mistral(None, name))
    assert found.keys() == {("cuda",), ("cuda:1",)} and total <= sum(found.values()) <= total + 500
    # Embeddings and head stay wide: 2 x 32,768 x 4,096 weights of two bytes each lie on the first alone.
    wide = 2 * 32_768 * 4_096 * 2
    assert abs(found[("cuda",)] - found[("cuda:1",)] - wide) < 0.01 * wide


def test_what_the_map_puts_on_the_disk_takes_no_memory(two_gpus):
    whole = estimates.estimated_bytes(mistral(None))
    found = {need.devices: need.nbytes for need in estimates.needs(mistral(layers("cpu", "disk")))}
    assert found.keys() == {("cuda",), ("cpu",)} and 0.4 * whole < found[("cpu",)] < 0.5 * whole


def test_a_map_that_crowds_one_device_does_not_fit(two_gpus):
    checkpoint = models.checkpoint(mistral(None).model)
    even, crowded = layers("cuda", "cuda:1"), layers("cuda:1")
    fits = estimates.estimate(precision("fp32"), checkpoint, mistral(even).placement)
    assert fits.fits and not fits.crowded and fits.free_bytes == 40 * GB
    does_not = estimates.estimate(precision("fp32"), checkpoint, mistral(crowded).placement)
    assert does_not.crowded == "cuda:1" and does_not.fits is False and does_not.estimated_bytes < does_not.free_bytes


def test_llama_cpp_lies_whole_on_one_device_whatever_the_map(two_gpus):
    (need,) = estimates.needs(mistral(layers("cpu", "cuda:1"), "q4_k_m"))
    assert need.devices == ("cuda",)


def test_a_device_that_cannot_be_is_refused_in_the_map():
    with pytest.raises(BadInput, match="device in the device map 'banana'"):
        placements.resolve(Placement("cpu", device_map=(("model", "banana"),)))


def test_a_variant_split_over_cpu_and_disk_holds_what_was_planned(tmp_path):
    model = tiny.write(tmp_path, "llama")
    split = (
        *((name, "cpu") for name in ("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head")),
        ("model.layers.0", "cpu"),
        ("model.layers.1", "disk"),
    )
    variant = Variant(model, precision("fp32"), placements.resolve(Placement("cpu", "float32", split)))
    (need,) = estimates.needs(variant)
    cache = VariantCache(load_variant, estimates.estimated_bytes, lambda *_: 10**12, estimates.needs)
    with cache.lease(variant) as lease:
        stored = lease.loaded.storage()
        assert stored.devices.keys() == {"cpu", "disk"} and sum(stored.devices.values()) == stored.total
        assert cache.held_bytes("cpu") == stored.devices["cpu"] and cache.held_bytes("disk") == stored.devices["disk"]
        # What is not in the file: the frequencies of the rotary embedding.
        assert need.devices == ("cpu",) and 0 <= stored.devices["cpu"] - need.nbytes < 200
        assert set(lease.loaded.facts.device_map.values()) == {"cpu", "disk"}
    tight = VariantCache(load_variant, estimates.estimated_bytes, lambda *_: need.nbytes + 10, estimates.needs)
    with tight.lease(variant):
        assert estimates.estimated_bytes(variant) > need.nbytes + 10, "all of it would not fit"
    assert cache.drop_unused() == tight.drop_unused() == 1


def test_what_a_model_cannot_have_has_no_size(demo):
    found = {one.precision.name: one for one in estimates.estimates(demo, Placement("cpu"))}
    assert found["stored"].estimated_bytes is None and "quantized already" in found["stored"].unavailable
    # What only this machine lacks has one.
    assert found["ao-int4"].estimated_bytes and "NVIDIA" in found["ao-int4"].unavailable


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_estimate_and_plan_agree_at_the_same_compute_type(dtype):
    shape = "shape:Mistral-7B-v0.3"
    here = estimates.estimates(models.peek(shape, AppSettings(public=False)), Placement("cpu", dtype))
    planned = quantlab.plan(shape, ["int8", "nf4", "rtn-4", "q4_k_m", "bf16"], compute_dtype=dtype)
    sizes = {one.precision.name: one.estimated_bytes for one in here}
    assert planned.compute_dtype == dtype
    assert {it.precision: it.stored_bytes for it in planned.precisions} == {
        it.precision: sizes[it.precision] for it in planned.precisions
    }

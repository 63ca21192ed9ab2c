"""`stored_bytes` against an independent way to find the tensors, and memory that comes back."""

import gc

import pytest
import torch

from quantlab import offers
from quantlab.measure.memory import resident_bytes
from quantlab.methods import PRECISIONS, method_of, precision
from quantlab.records import Placement, Variant, silent
from quantlab.runtime.placement import resolve
from tests import tiny

PLACEMENT = resolve(Placement("cpu"))


def load(model, name: str):
    chosen = precision(name)
    return method_of(chosen).load(model, chosen, PLACEMENT, silent)


def tensors_alive() -> dict[int, int]:
    """Every tensor storage that Python's garbage collector knows of: address -> bytes. It knows nothing of modules."""
    gc.collect()
    found = {}
    for thing in gc.get_objects():
        # type() instead of isinstance: some libraries' lazy proxies do real work when asked for their class.
        if issubclass(type(thing), torch.Tensor) and thing.device.type == "cpu":
            storage = thing.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    found.pop(0, None)
    return found


@pytest.mark.parametrize("name", PRECISIONS)
@pytest.mark.parametrize("family", ["llama", "qwen2-untied-biases"])
def test_stored_bytes_equal_all_tensors_that_the_load_left_behind(tmp_path, name, family):
    model = tiny.write(tmp_path, family)
    load(model, name).close()  # libraries make tables of their own at the first load
    before = tensors_alive()
    loaded = load(model, name)
    after = tensors_alive()
    new = {address: size for address, size in after.items() if address not in before or before[address] != size}
    assert loaded.stored_bytes() == sum(new.values())


@pytest.mark.parametrize("name", PRECISIONS)
def test_parts_add_up_and_bits_are_what_the_method_says(tmp_path, name):
    storage = load(tiny.write(tmp_path, "llama"), name).storage()
    assert sum(storage.parts.values()) == storage.total
    quantized = precision(name).method != "dense"
    assert (storage.quantized_weights > 0) == quantized
    assert (storage.parts["quantization"] > 0) == quantized
    if quantized:
        # A small layer carries its codebook (64 or 1,092 bytes) on few weights.
        layers = 2 * 7
        allowed = 8 * layers * (64 + 1_028) / storage.quantized_weights + 0.6
        assert precision(name).bits <= storage.bits_per_quantized_weight <= precision(name).bits + allowed


@pytest.mark.parametrize("name", PRECISIONS)
@pytest.mark.parametrize("family", ["llama", "qwen2-untied-biases", "gpt2"])
def test_the_estimate_before_loading_is_what_the_load_stores(tmp_path, name, family):
    model = tiny.write(tmp_path, family)
    estimated = offers.estimated_bytes(Variant(model, precision(name), PLACEMENT))
    storage = load(model, name).storage()
    assert estimated == pytest.approx(storage.total - storage.parts["other"], rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fp32", "int8", "nf4-dq", "rtn-3"])
def test_memory_comes_back_after_load_and_drop(tmp_path, name):
    model = tiny.write(tmp_path, "llama")
    resident = []
    for _ in range(100):
        loaded = load(model, name)
        loaded.start().feed([1, 40, 41])
        loaded.close()
        resident.append(resident_bytes())
    assert resident[99] <= resident[2] * 1.02


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["bf16", "int8", "nf4-dq", "rtn-4"])
def test_cuda_memory_is_exactly_what_it_was(tmp_path, name):
    model = tiny.write(tmp_path, "llama")
    placement = resolve(Placement("cuda"))
    chosen = precision(name)
    first = method_of(chosen).load(model, chosen, placement, silent)
    first.start().feed([1, 40, 41])  # cuBLAS keeps a workspace from its first product on
    first.close()
    before = torch.cuda.memory_allocated()
    loaded = method_of(chosen).load(model, chosen, placement, silent)
    loaded.start().feed([1, 40, 41])
    loaded.close()
    assert torch.cuda.memory_allocated() == before

"""`stored_bytes` against an independent way to find the tensors, and memory that comes back."""

import gc

import pytest
import torch

from quantlab import models
from quantlab.measure.memory import resident_bytes
from quantlab.methods import PRECISIONS, method_of, precision
from quantlab.models.folder import DTYPE_BITS
from quantlab.records import Placement, TensorInfo, Variant, silent
from quantlab.runs import estimates
from quantlab.runtime import storage
from quantlab.runtime.placement import resolve
from tests import tiny

PLACEMENT = resolve(Placement("cpu", "float32"))
#: Those that quantize while they load. What the others write first is held against its files, in their own tests.
IN_PLACE = [name for name, chosen in PRECISIONS.items() if not method_of(chosen).kept]


def load(model, name: str):
    """Skips where the model cannot be had at the precision on a CPU."""
    chosen = precision(name)
    if reason := method_of(chosen).refuses(chosen, models.checkpoint(model), "cpu"):
        pytest.skip(f"{name} {reason}")
    return method_of(chosen).load(model, chosen, PLACEMENT, silent)


def tensors_alive() -> dict[int, int]:
    """Every tensor storage that Python's garbage collector knows of: address -> bytes. It knows nothing of modules."""
    gc.collect()
    found = {}
    for thing in gc.get_objects():
        # type() instead of isinstance: some libraries' lazy proxies do real work when asked for their class.
        # A tensor made of others (torchao) has no bytes of its own; those are in the list too.
        ordinary = issubclass(type(thing), torch.Tensor) and not hasattr(type(thing), "__tensor_flatten__")
        if ordinary and thing.device.type == "cpu":
            held = thing.untyped_storage()
            found[held.data_ptr()] = held.nbytes()
    found.pop(0, None)
    return found


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("family", ["llama", "qwen2-untied-biases"])
def test_stored_bytes_equal_all_tensors_that_the_load_left_behind(tmp_path, name, family):
    model = tiny.write(tmp_path, family)
    load(model, name).close()  # libraries make tables of their own at the first load
    before = tensors_alive()
    loaded = load(model, name)
    after = tensors_alive()
    new = {address: size for address, size in after.items() if address not in before or before[address] != size}
    assert loaded.stored_bytes() == sum(new.values())


@pytest.mark.parametrize("name", IN_PLACE)
def test_parts_add_up_and_bits_are_what_the_method_says(tmp_path, name):
    found = load(tiny.write(tmp_path, "llama"), name).storage()
    assert sum(found.parts.values()) == found.total
    quantized = precision(name).method != "dense"
    assert (found.quantized_weights > 0) == quantized
    assert (found.parts["quantization"] > 0) == quantized
    if quantized:
        # A small layer carries its codebook (64 or 1,092 bytes) on few weights.
        layers = 2 * 7
        allowed = 8 * layers * (64 + 1_028) / found.quantized_weights + 0.6
        assert precision(name).bits <= found.bits_per_quantized_weight <= precision(name).bits + allowed


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("family", ["llama", "qwen2-untied-biases", "gpt2"])
def test_the_estimate_before_loading_is_what_the_load_stores(tmp_path, name, family):
    model = tiny.write(tmp_path, family)
    chosen = precision(name)
    planned = method_of(chosen).parts(chosen, PLACEMENT, models.checkpoint(model))
    found = load(model, name).storage()
    assert planned == found.parts
    assert estimates.estimated_bytes(Variant(model, chosen, PLACEMENT)) == found.total == sum(planned.values())


class Packed(torch.nn.Linear):
    """A layer as kernels leave it: its codes and scales in a module of their own."""

    def __init__(self) -> None:
        super().__init__(16, 8, bias=False)
        del self.weight
        self.packed = torch.nn.Module()
        self.packed.register_buffer("qweight", torch.zeros(16, 4, dtype=torch.uint8))
        self.packed.register_buffer("scales", torch.zeros(8, dtype=torch.float16))


def test_what_a_kernel_keeps_in_a_module_of_its_own_belongs_to_the_layer():
    found = storage.measure(torch.nn.ModuleDict({"mlp": Packed(), "norm": torch.nn.LayerNorm(16)}))
    assert (found.quantized_weights, found.quantized_bytes, found.weights) == (16 * 8, 64 + 16, 16 * 8 + 2 * 16)
    assert found.parts["mlp"] == 64 and found.parts["quantization"] == 16 and found.parts["norms"] == 2 * 16 * 4


def test_a_scaled_embedding_is_not_quantized():
    embedding = torch.nn.Embedding(10, 4)
    embedding.register_buffer("embed_scale", torch.tensor(2.0), persistent=False)
    found = storage.measure(torch.nn.ModuleDict({"embed_tokens": embedding}))
    assert found.quantized_weights == 0 and found.parts["embeddings"] == found.total == 10 * 4 * 4 + 4


def test_layers_are_counted_as_their_files_hold_them_where_a_kernel_repacked_them():
    network = torch.nn.ModuleDict({"mlp": Packed(), "norm": torch.nn.LayerNorm(16)})
    norm = {"norm.weight": TensorInfo((16,), "F32"), "norm.bias": TensorInfo((16,), "F32")}
    files = norm | {"mlp.qweight": TensorInfo((8, 2), "I32"), "mlp.scales": TensorInfo((8,), "F32")}
    del network["mlp"].packed
    network["mlp"].register_buffer("qweight", torch.zeros(16, 8, dtype=torch.uint8))
    found = storage.from_files(network, files, DTYPE_BITS)
    assert found.repacked and found.quantized == {"mlp"}
    assert found.storage.total == 64 + 32 + 2 * 16 * 4 and found.storage.quantized_bytes == 64 + 32
    assert storage.bytes_of(network, found.quantized) == 128
    network["mlp"].qweight = torch.zeros(8, 2, dtype=torch.int32)
    network["mlp"].scales = torch.zeros(8)
    found = storage.from_files(network, files, DTYPE_BITS)
    assert not found.repacked and found.storage == storage.measure(network)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "cycles"), [("fp32", 100), ("int8", 30), ("nf4-dq", 30), ("rtn-3", 30)])
def test_memory_comes_back_after_load_and_drop(tmp_path, name, cycles):
    model = tiny.write(tmp_path, "llama")
    resident = []
    for _ in range(cycles):
        loaded = load(model, name)
        loaded.start().forward([1, 40, 41])
        loaded.close()
        resident.append(resident_bytes())
    assert resident[-1] <= resident[2] * 1.02


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["bf16", "int8", "nf4-dq", "rtn-4"])
def test_cuda_memory_is_exactly_what_it_was(tmp_path, name):
    model = tiny.write(tmp_path, "llama")
    placement = resolve(Placement("cuda"))
    chosen = precision(name)
    first = method_of(chosen).load(model, chosen, placement, silent)
    first.start().forward([1, 40, 41])  # cuBLAS keeps a workspace from its first product on
    first.close()
    before = torch.cuda.memory_allocated()
    loaded = method_of(chosen).load(model, chosen, placement, silent)
    loaded.start().forward([1, 40, 41])
    loaded.close()
    assert torch.cuda.memory_allocated() == before

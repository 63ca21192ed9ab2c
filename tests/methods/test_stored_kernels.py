"""The kernel of a published checkpoint: chosen, told, and counted right where it lays the weights out anew."""

import pytest
import torch

from quantlab import models
from quantlab.errors import BadInput, Unavailable
from quantlab.records import Model, Placement
from quantlab.runtime.placement import resolve
from tests.methods.test_stored import PROMPT, greedy, loading


@pytest.mark.parametrize(
    ("method", "kernel", "layer"),
    [
        ("gptq", "gptq_torch", "TorchLinear"),
        ("gptq", "torch", "TorchLinear"),
        ("gptq", "gptq_torch_fused", "TorchFusedLinear"),
        ("awq", "awq_torch", "AwqTorchLinear"),
    ],
)
def test_a_kernel_can_be_chosen(published, method, kernel, layer):
    model = Model(method, "folder", published[method])
    loaded = loading(model, Placement("cpu", "bfloat16", kernel=kernel))
    assert loaded.facts.kernel == f"{method} {layer}"
    assert type(loaded.module.model.layers[0].mlp.up_proj).__name__ == layer
    other = loading(model)
    ours, theirs = loaded.start().forward(PROMPT).float(), other.start().forward(PROMPT).float()
    assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.999
    for each in (loaded, other):
        each.close()


def test_a_kernel_that_repacks_during_the_load_is_counted_as_its_files_and_says_so(published):
    model = Model("gptq", "folder", published["gptq"])
    loaded = loading(model, Placement("cpu", "bfloat16", kernel="gptq_torch_int8"))
    files = models.checkpoint(model).nbytes
    assert loaded.stored_bytes() == files + loaded.storage().parts["other"]
    (note,) = loaded.facts.notes
    assert "lays the weights out anew" in note
    greedy(loaded.start(), 2)
    assert loaded.stored_bytes() > files * 1.2, "now what is in memory: eight bits for each weight"
    loaded.close()


def test_compressed_tensors_says_that_it_unpacks(published):
    loaded = loading(Model("compressed", "folder", published["compressed"]))
    (note,) = loaded.facts.notes
    assert "unpacks the weights" in note
    greedy(loaded.start(), 1)
    weights = loaded.storage().quantized_weights
    assert loaded.stored_bytes() > weights * 2
    loaded.close()


def test_a_kernel_that_cannot_be_is_told(published):
    def load(name: str, kernel: str):
        return loading(Model(name, "folder", published[name]), Placement("cpu", "bfloat16", kernel=kernel))

    with pytest.raises(BadInput, match="Unknown kernel 'mrlin'") as unknown:
        load("gptq", "mrlin")
    assert unknown.value.advice.startswith("Did you mean marlin?") and "exllama_v2" in unknown.value.advice
    with pytest.raises(Unavailable, match=r"gptq_marlin does not take 4-bit GPTQ weights.*CUDA"):
        load("gptq", "marlin")
    with pytest.raises(Unavailable, match="awq_exllama_v2 does not take"):
        load("awq", "awq_exllama_v2")
    with pytest.raises(BadInput, match="no kernels to choose from"):
        load("nf4", "marlin")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_every_kernel_of_gptqmodel_can_be_asked_for(method):
    """A name that is refused before anything loads must be none of the library's."""
    from gptqmodel.quantization import METHOD
    from gptqmodel.utils.importer import BACKEND_TO_METHOD_FORMAT_MAPPING

    every = {it.value for kernels in BACKEND_TO_METHOD_FORMAT_MAPPING[METHOD(method)].values() for it in kernels}
    assert every
    for name in every - {"bitsandbytes"}:
        assert resolve(Placement("cpu", kernel=name)).kernel == name

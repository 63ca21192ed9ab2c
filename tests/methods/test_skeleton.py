"""What a network without weights tells: its linear layers, what is read directly, how much each part takes."""

import pytest
import torch
import transformers

from quantlab.errors import ModelError
from quantlab.methods import skeleton
from quantlab.methods.layout import layout
from quantlab.records import Checkpoint, TensorInfo

SIZES = dict(vocab_size=320, hidden_size=64, num_hidden_layers=2, num_attention_heads=4)


class Written(torch.nn.Linear):
    """The product in other words, as Falcon's layers write it."""

    def forward(self, given):
        product = given @ self.weight.T
        return product if self.bias is None else product + self.bias


class Scaled(torch.nn.Linear):
    def forward(self, given):
        return super().forward(given) * 2


class Pair(torch.nn.Linear):
    """Gives two things and is made of a configuration, as Llama 4's router."""

    def __init__(self, config):
        super().__init__(config.hidden_size, 4)

    def forward(self, given):
        return super().forward(given), given


class Around(torch.nn.Module):
    """Uses one layer's weight itself, casts to the type of another's, and asks where a third one lies."""

    def __init__(self):
        super().__init__()
        self.used, self.cast, self.asked = (torch.nn.Linear(8, 8) for _ in range(3))

    def forward(self, given):
        given = self.asked(given.to(self.asked.weight.device))
        return self.cast(given.to(self.cast.weight.dtype)) @ self.used.weight


@pytest.mark.parametrize(
    ("kind", "linear"), [(torch.nn.Linear, True), (Written, True), (Scaled, False), (Pair, False), (Around, False)]
)
def test_a_linear_layer_is_what_multiplies_like_one(kind, linear):
    assert skeleton.multiplies(kind) is linear


def test_a_weight_that_is_read_directly_stays_as_it_is():
    assert skeleton.read_directly(torch.nn.Sequential(Around())) == ["0.cast", "0.used"]
    assert skeleton.read_directly(torch.nn.Sequential(torch.nn.MultiheadAttention(8, 2))) == ["0.out_proj"]


def test_mamba_multiplies_by_its_weights_itself():
    values = transformers.MambaConfig(vocab_size=320, hidden_size=64, num_hidden_layers=1).to_dict()
    model = skeleton.network(values, "tiny")
    names = {name.rpartition(".")[2] for name, _, _ in skeleton.linear_layers(model)}
    assert "dt_proj" not in names and names


def values(kind: str, **more) -> dict:
    return transformers.AutoConfig.for_model(kind, **SIZES, **more).to_dict()


@pytest.mark.parametrize(("dtype", "element"), [("float32", 4), ("bfloat16", 2)])
def test_all_parameters_are_listed_with_their_bytes(dtype, element):
    found = skeleton.layout(values("falcon"), dtype, own_head=False)
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model("falcon", **SIZES))
    assert sum(weight.nbytes for weight in found.weights) == sum(p.numel() for p in model.parameters()) * element
    assert {weight.kind for weight in found.weights} == {"linear", "wide"}
    assert all(weight.kind == "wide" for weight in found.weights if "embed" in weight.name or "norm" in weight.name)


def test_gpt2_has_its_matrices_the_other_way_round():
    config = transformers.GPT2Config(vocab_size=320, n_embd=64, n_layer=1, n_head=4).to_dict()
    shapes = {w.name: w.shape for w in skeleton.layout(config, "float32", False).weights if w.kind == "linear"}
    assert shapes["transformer.h.0.attn.c_attn.weight"] == (192, 64)


def test_experts_are_stacks_of_outputs_by_inputs():
    config = values("llama4_text", num_local_experts=4, intermediate_size=96, intermediate_size_mlp=96, head_dim=16)
    shapes = {w.name.rpartition(".")[2]: w.shape for w in skeleton.layout(config, "float32", False).weights}
    assert (shapes["gate_up_proj"], shapes["down_proj"]) == ((4, 192, 64), (4, 64, 96))


def test_a_head_of_its_own_in_the_file_counts_beside_tied_embeddings():
    config = values("cohere", tie_word_embeddings=True)
    head = {"lm_head.weight": TensorInfo((320, 64), "F32")}
    tied, own = (layout(Checkpoint(config, tensors, 0), "float32") for tensors in ({}, head))
    sizes = [sum(weight.nbytes for weight in found.weights) for found in (tied, own)]
    assert sizes[1] - sizes[0] == 320 * 64 * 4


def test_infinity_in_a_configuration_is_read():
    config = {"model_type": "mamba2", "time_step_limit": [0.0, {"__float__": "Infinity"}]}
    assert skeleton.configuration(config, "tiny").time_step_limit[1] == float("inf")


@pytest.mark.parametrize("kind", ["t5", "clip", "nonsense"])
def test_what_is_no_causal_model_is_refused(kind):
    with pytest.raises(ModelError):
        skeleton.network({"model_type": kind}, "tiny")

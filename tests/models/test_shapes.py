"""Published sizes, and random weights that are made one at a time and are the same every time."""

import threading
import weakref

import pytest
import torch

from quantlab import models
from quantlab.errors import ModelError
from quantlab.models import shapes
from quantlab.records import Model

PUBLISHED = {
    "Mistral-7B-v0.3": 7_248_023_552,
    "Llama-2-7B": 6_738_415_616,
    "Llama-2-70B": 68_976_648_192,
    "Llama-3.1-8B": 8_030_261_248,
    "Qwen3-0.6B": 596_049_920,
    "SmolLM2-135M": 134_515_008,
}
BENCH = Model("shape:bench-100m", "shape", None)


def transformers_config(config: dict):
    from transformers import AutoConfig

    return AutoConfig.for_model(**config)


def load(config: dict, lazy: dict, **options) -> torch.nn.Module:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    built = transformers_config(config)
    network, info = MODEL_FOR_CAUSAL_LM_MAPPING[type(built)].from_pretrained(
        None, config=built, state_dict=lazy, output_loading_info=True, **options
    )
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return network.eval()


@pytest.fixture
def one_layer(monkeypatch) -> dict:
    """bench-100m cut to one layer and a small vocabulary."""
    config = shapes.shape_config("bench-100m") | {"num_hidden_layers": 1, "vocab_size": 512}
    monkeypatch.setattr(shapes, "shape_config", lambda name: config)
    return config


class Live:
    """The bytes of lazy tensors made and not yet dropped."""

    def __init__(self) -> None:
        self.bytes = self.peak = self.made = 0
        self._lock = threading.Lock()

    def count(self, tensor: torch.Tensor) -> torch.Tensor:
        self._add(tensor.nbytes)
        weakref.finalize(tensor, self._add, -tensor.nbytes)
        return tensor

    def _add(self, count: int) -> None:
        with self._lock:
            self.bytes += count
            self.made += count > 0
            self.peak = max(self.peak, self.bytes)


@pytest.fixture
def live(monkeypatch) -> Live:
    live, make = Live(), shapes.LazyTensor._materialize
    monkeypatch.setattr(shapes.LazyTensor, "_materialize", lambda self: live.count(make(self)))
    return live


def test_the_weights_are_as_many_as_published():
    assert {name: shapes.count(shapes.shape_config(name)) for name in PUBLISHED} == PUBLISHED
    assert set(shapes.names()) == {*PUBLISHED, "bench-100m"}


def test_the_bench_shape_has_sizes_that_divide_well():
    config = shapes.shape_config("bench-100m")
    assert 95e6 < shapes.count(config) < 105e6
    assert config["hidden_size"] % 256 == config["intermediate_size"] % 256 == 0
    assert not config["tie_word_embeddings"]


@pytest.mark.parametrize("name", [*PUBLISHED, "bench-100m"])
def test_names_and_shapes_are_those_of_transformers(name, local):
    from transformers import AutoModelForCausalLM

    model = models.resolve(f"shape:{name}", local)
    assert model.meaningless and model.folder is None
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(transformers_config(models.config(model)))
    expected = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert {name: info.shape for name, info in models.tensors(model).items()} == expected


@pytest.mark.parametrize(
    ("family", "settings"),
    [("llama", {"attention_bias": True, "mlp_bias": True}), ("qwen3", {"attention_bias": True, "head_dim": 32})],
)
def test_biases_are_counted(family, settings):
    from transformers import AutoModelForCausalLM

    config = shapes.shape_config("bench-100m") | {"model_type": family, "num_hidden_layers": 2, **settings}
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(transformers_config(config))
    expected = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert {name: info.shape for name, info in shapes.shape_tensors(config).items()} == expected


def test_what_the_architectures_differ_in_reaches_transformers():
    llama = transformers_config(shapes.shape_config("Llama-3.1-8B"))
    assert llama.rope_parameters["rope_type"] == "llama3" and llama.rope_parameters["rope_theta"] == 500_000
    assert llama.rope_parameters["factor"] == 8 and llama.max_position_embeddings == 131_072
    mistral = transformers_config(shapes.shape_config("Mistral-7B-v0.3"))
    assert mistral.sliding_window is None and mistral.num_key_value_heads == 8
    assert mistral.rope_parameters["rope_theta"] == 1_000_000
    qwen = transformers_config(shapes.shape_config("Qwen3-0.6B"))
    assert qwen.head_dim == 128 and set(qwen.layer_types) == {"full_attention"}
    assert {transformers_config(shapes.shape_config(name)).dtype for name in ("Llama-2-7B", "Llama-2-70B")} == {
        torch.float16
    }


def test_an_unknown_architecture_is_refused():
    with pytest.raises(ModelError, match="mamba"):
        shapes.shape_tensors({"model_type": "mamba"})


def test_plain_loading_takes_every_lazy_tensor_once(one_layer, live):
    network = load(one_layer, shapes.lazy_state_dict(BENCH, torch.float32), dtype=torch.float32)
    parameters = dict(network.named_parameters())
    assert live.made == len(parameters)
    norms = [parameter for name, parameter in parameters.items() if name.endswith("norm.weight")]
    assert len(norms) == 3 and all(bool((norm == 1).all()) for norm in norms)
    matrix = parameters["model.layers.0.mlp.up_proj.weight"]
    assert abs(matrix.mean().item()) < 1e-4 and matrix.std().item() == pytest.approx(0.02, rel=0.01)
    logits = network(torch.tensor([[1, 2, 3]])).logits
    assert logits.shape == (1, 3, 512) and bool(logits.isfinite().all()) and logits.std() > 0.1


def test_tied_embeddings_are_tied(one_layer):
    config = one_layer | {"tie_word_embeddings": True}
    one_layer.update(config)
    network = load(config, shapes.lazy_state_dict(BENCH, "bfloat16"), dtype=torch.bfloat16)
    assert network.lm_head.weight.data_ptr() == network.model.embed_tokens.weight.data_ptr()


def test_the_weights_are_the_same_every_time_and_at_every_precision(monkeypatch):
    name = "model.layers.3.mlp.down_proj.weight"
    first, second = (shapes.lazy_state_dict(BENCH, torch.float32)[name][...] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(shapes.lazy_state_dict(BENCH, "bfloat16")[name][...], first.bfloat16())
    other = shapes.lazy_state_dict(BENCH, torch.float32)["model.layers.4.mlp.down_proj.weight"][...]
    assert not torch.equal(first, other)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert torch.equal(shapes.lazy_state_dict(BENCH, torch.float32)[name][...], first)


def test_blocks_of_one_tensor_differ(monkeypatch):
    monkeypatch.setattr(shapes, "BLOCK", 1 << 10)
    tensor = shapes.lazy_state_dict(BENCH, torch.float32)["model.layers.0.self_attn.k_proj.weight"][...]
    blocks = tensor.view(-1, 1 << 10)
    assert blocks.unique(dim=0).shape == blocks.shape
    assert tensor.std().item() == pytest.approx(0.02, rel=0.01)


def test_a_lazy_tensor_is_cut_like_a_slice_of_a_file():
    lazy = shapes.lazy_state_dict(BENCH, torch.float16)["model.layers.0.self_attn.q_proj.weight"]
    assert (lazy.shape, lazy.get_shape(), lazy.dtype, lazy.get_dtype()) == (
        (768, 768),
        [768, 768],
        torch.float16,
        "F16",
    )
    assert torch.equal(lazy[10:20, :5], lazy[...][10:20, :5])


@pytest.mark.filterwarnings("ignore")
def test_bitsandbytes_quantizes_each_tensor_as_it_is_made(one_layer, live):
    from transformers import BitsAndBytesConfig

    one_layer["num_hidden_layers"] = 4
    lazy = shapes.lazy_state_dict(BENCH, torch.float32)
    whole = sum(tensor.dtype.itemsize * torch.Size(tensor.shape).numel() for tensor in lazy.values())
    largest = max(tensor.dtype.itemsize * torch.Size(tensor.shape).numel() for tensor in lazy.values())
    quantized = load(
        one_layer,
        lazy,
        dtype=torch.float32,
        device_map={"": "cpu"},
        quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    )
    assert type(quantized.model.layers[0].mlp.up_proj).__name__ == "Linear4bit"
    assert live.made == len(lazy)
    assert live.peak <= 2 * largest < whole / 8

    plain = load(one_layer, shapes.lazy_state_dict(BENCH, torch.float32), dtype=torch.float32)
    ids = torch.tensor([[1, 2, 3]])
    expected, seen = plain(ids).logits, quantized(ids).logits.float()
    assert torch.corrcoef(torch.stack([expected.flatten(), seen.flatten()]))[0, 1] > 0.9

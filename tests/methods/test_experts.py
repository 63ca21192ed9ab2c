"""Mixtures of experts: quantized where the method can, else said, and estimated as they are stored."""

import pytest
import torch
import transformers

from quantlab import models
from quantlab.checkpoints.load import load_variant
from quantlab.methods import METHODS, precision
from quantlab.methods.rtn.linear import dequantize, quantize
from quantlab.records import Model, ResolvedPlacement, Variant, silent
from tests.tiny import letters

PLACEMENT = ResolvedPlacement("cpu", "float32")
SMALL = dict(
    vocab_size=320,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=96,
    moe_intermediate_size=96,
    num_experts_per_tok=2,
    max_position_embeddings=256,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=None,
)
#: With experts one by one in the file (Mixtral), a router that normalizes (Qwen3), shared experts (Qwen2), stacks that
#: lie the other way round and are multiplied whole (Llama 4), with biases and interleaved (gpt-oss).
KINDS = {
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {"num_local_experts": 4}),
    "qwen3_moe": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig", {"num_experts": 4, "head_dim": 16}),
    "qwen2_moe": (
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        {"num_experts": 4, "shared_expert_intermediate_size": 128},
    ),
    "llama4": (
        "Llama4ForCausalLM",
        "Llama4TextConfig",
        {"num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 96, "head_dim": 16},
    ),
    "gpt_oss": ("GptOssForCausalLM", "GptOssConfig", {"num_local_experts": 4, "head_dim": 16}),
}


@pytest.fixture(scope="module", params=KINDS)
def mixture(request, tmp_path_factory) -> Model:
    made, configured, more = KINDS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    config = getattr(transformers, configured)(**(SMALL | more))
    model = getattr(transformers, made)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)
    letters().save_pretrained(folder)
    return Model(request.param, "folder", folder)


def plain(model: Model) -> torch.nn.Module:
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float32)
    loaded.config._experts_implementation = "eager"
    return loaded.eval()


def brought(model: Model, name: str):
    return load_variant(Variant(model, precision(name), PLACEMENT), silent)


@pytest.mark.parametrize("name", ["rtn-3", "rtn-4-sym"])
def test_experts_are_rounded_like_any_matrix(mixture, name):
    """Each expert's matrix is rounded by itself; the same matrices put into the plain model give the same logits."""
    got = brought(mixture, name)
    chosen, original = precision(name), plain(mixture)
    seen = 0
    with torch.no_grad():
        for path, module in original.named_modules():
            ours = got.loaded.module.get_submodule(path)
            for attribute, options in getattr(ours, "rtn_stacks", {}).items():
                stack = getattr(ours, attribute)
                matrices = module._parameters[attribute]
                assert stack.shape == matrices.shape
                for index, matrix in enumerate(matrices):
                    turned = matrix.T if options.transposed else matrix
                    parts = quantize(turned, chosen.weight_bits, chosen.group_size, chosen.symmetric)
                    rounded = _of_codes(*parts, chosen)[:, : turned.shape[1]]
                    matrix.copy_(rounded.T if options.transposed else rounded)
                    assert torch.equal(stack[index], matrix), (path, attribute)
                    seen += 1
            if type(ours).__name__ == "RtnLinear":
                module.weight.copy_(ours.dequantize(torch.float32))
        ids = torch.tensor([[5, 9, 77, 3, 200, 41]])
        expected = original(input_ids=ids).logits[0]
    assert seen == 4 * 4  # four experts, two stacks, two layers
    assert torch.allclose(got.loaded.start().logits(ids[0].tolist()), expected, atol=2e-5)


def _of_codes(codes, scale, zero_point, chosen):
    from quantlab.methods.rtn.linear import pack

    packed = pack(codes, chosen.weight_bits)
    return dequantize(packed, scale, zero_point, chosen.weight_bits, chosen.group_size, torch.float32)


@pytest.mark.parametrize("name", ["bf16", "rtn-4", "nf4", "int8", "hqq-4"])
def test_the_estimate_is_what_is_stored(mixture, name):
    variant = Variant(mixture, precision(name), PLACEMENT)
    planned = METHODS[variant.precision.method].estimate(
        variant.precision, variant.placement, models.checkpoint(mixture)
    )
    got = load_variant(variant, silent)
    assert got.stored.total == pytest.approx(planned, rel=0.01)
    assert not [note for note in got.loaded.facts.notes if "estimated" in note]


def test_rounding_leaves_no_expert_wide(mixture):
    got = brought(mixture, "rtn-4")
    assert not [note for note in got.loaded.facts.notes if "un-quantized" in note]
    # Codes of 4 bits, a scale of 16 and a zero point of 8 for 64 weights; rows of 96 are padded to 128.
    assert 4.375 <= got.stored.bits_per_quantized_weight <= 4.375 * 128 / 96
    assert got.stored.weights == pytest.approx(sum(p.numel() for p in plain(mixture).parameters()))


@pytest.mark.parametrize("name", ["int8", "ao-int8"])
def test_experts_that_stay_wide_are_said_with_their_share(mixture, name):
    got = brought(mixture, name)
    experts = sum(p.numel() for n, p in plain(mixture).named_parameters() if "experts." in n and p.ndim == 3)
    share = experts / got.stored.weights
    (note,) = [note for note in got.loaded.facts.notes if "un-quantized beside" in note]
    assert float(note.partition(" %")[0]) == pytest.approx(100 * share, abs=0.1) and "experts" in note


def test_a_stack_in_16_bits_gives_16_bits(mixture):
    got = load_variant(Variant(mixture, precision("rtn-4"), ResolvedPlacement("cpu", "bfloat16")), silent)
    stack = next(
        getattr(module, name) for module in got.loaded.module.modules() for name in getattr(module, "rtn_stacks", {})
    )
    assert stack[0].dtype == stack.dtype == torch.bfloat16
    assert torch.isfinite(got.loaded.start().logits([3, 4, 5])).all()

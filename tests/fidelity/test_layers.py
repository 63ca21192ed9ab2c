"""The error of each layer, against what a plain hook finds and against errors that were put there."""

import pytest
import torch

from quantlab.fidelity import layers
from tests import tiny
from tests.loading import load

IDS = list(range(20, 60))


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3", "gemma2-alternating"])
def test_a_model_beside_itself_has_no_error_anywhere(tmp_path, family):
    loaded = load(tiny.write(tmp_path, family), "fp32")
    found = layers.errors(loaded.network, IDS, layers.outputs(loaded.network, IDS))
    assert {error.layer for error in found} == {0, 1} and len(found) > 8
    assert max(error.propagated for error in found) == 0 and max(error.isolated for error in found) == 0
    assert min(error.cosine for error in found) == pytest.approx(1, abs=1e-5)
    loaded.close()


def test_an_error_shows_where_it_was_made(tmp_path):
    loaded = load(tiny.write(tmp_path, "llama"), "fp32")
    reference = layers.outputs(loaded.network, IDS)
    with torch.no_grad():
        loaded.network.model.layers[0].mlp.up_proj.weight.mul_(1.1)
    found = {(error.layer, error.module): error for error in layers.errors(loaded.network, IDS, reference)}
    made = found[0, "mlp.up_proj"]
    assert made.propagated == pytest.approx(0.1, rel=1e-4) and made.isolated == pytest.approx(0.1, rel=1e-4)
    assert made.cosine == pytest.approx(1)
    assert found[0, "self_attn.q_proj"].propagated == 0
    # Later modules inherit the error, and make none of their own.
    assert found[1, "self_attn.q_proj"].propagated > 1e-3 and found[1, "self_attn.q_proj"].isolated == 0
    assert found[0, layers.LAYER].isolated > 0 and found[1, layers.LAYER].isolated == 0
    loaded.close()


def test_outputs_are_those_of_a_plain_hook(tmp_path):
    loaded = load(tiny.write(tmp_path, "llama"), "fp32")
    seen = []
    handle = loaded.network.model.layers[1].mlp.down_proj.register_forward_hook(lambda *it: seen.append(it[2][0]))
    with torch.no_grad():
        loaded.network(input_ids=torch.tensor([IDS]), use_cache=False)
    handle.remove()
    made = layers.outputs(loaded.network, IDS)
    torch.testing.assert_close(made.made[1, "mlp.down_proj"], seen[0])
    assert made.inputs[0].shape == (len(IDS), 64)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in loaded.network.modules())
    loaded.close()


def test_a_quantized_model_has_errors_at_its_quantized_modules(tmp_path):
    model = tiny.write(tmp_path, "llama")
    dense, quantized = load(model, "fp32"), load(model, "rtn-4")
    found = layers.errors(quantized.network, IDS, layers.outputs(dense.network, IDS))
    own = {error.module: error.isolated for error in found if error.layer == 1}
    assert all(0.01 < own[name] < 0.5 for name in ("self_attn.q_proj", "mlp.down_proj", "mlp.gate_proj"))
    assert all(error.propagated >= 0 and -1 <= error.cosine <= 1.000001 for error in found)
    dense.close()
    quantized.close()


def test_another_number_of_layers_is_not_compared(tmp_path):
    loaded = load(tiny.write(tmp_path, "llama"), "fp32")
    reference = layers.outputs(loaded.network, IDS)
    short = layers.Outputs(reference.inputs[:1], reference.made)
    assert layers.errors(loaded.network, IDS, short) == ()
    loaded.close()

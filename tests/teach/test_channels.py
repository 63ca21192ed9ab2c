"""Outlier channels: real activations, a spread that can be moved, and what 8-bit products lose by it."""

from dataclasses import replace

import pytest
import torch
import transformers

from quantlab.errors import BadInput
from quantlab.records.inside import InsideRequest
from quantlab.teach import inside
from quantlab.teach.inside import activations, channels, weights
from tests.teach.conftest import APP

LAYER = "model.layers.1.mlp.up_proj"
REQUEST = InsideRequest("demo", LAYER, "nf4", block=1025)


@pytest.fixture(scope="module")
def seen(demo):
    return inside.outliers(REQUEST, APP)


@pytest.fixture(scope="module")
def given(demo, seen):
    return activations.entering(demo, f"{LAYER}.weight", APP).entering


@pytest.fixture(scope="module")
def weight(demo):
    return weights.weight(demo, f"{LAYER}.weight")


def test_the_activations_are_those_of_a_plain_forward(demo, given):
    from quantlab.fidelity import texts
    from quantlab.models.tokenizer import load_tokenizer

    network = transformers.AutoModelForCausalLM.from_pretrained(demo.folder, dtype=torch.float32)
    ids = load_tokenizer(demo).encode(texts.text("demo").content)[: activations.TOKENS]
    found = []
    network.get_submodule(LAYER).register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    with torch.inference_mode():
        network(input_ids=torch.tensor([ids]), use_cache=False)
    assert given.shape == (activations.TOKENS, 256)
    assert torch.allclose(given, found[0][0], atol=2e-4)


def test_what_is_shown_are_the_channels_own_magnitudes(seen, given, weight):
    assert seen.activations == pytest.approx([max(map(abs, column)) for column in given.T.tolist()], rel=1e-6)
    assert seen.weights == pytest.approx([max(map(abs, column)) for column in weight.T.tolist()], rel=1e-6)
    assert seen.over == tuple(place for place, value in enumerate(seen.activations) if value >= 6.0)
    assert 0 < len(seen.over) < 40 and seen.threshold == 6.0
    logs = torch.tensor(seen.activations, dtype=torch.float64).log()
    assert seen.sigma == pytest.approx(float(((logs - logs.mean()) ** 2).mean() ** 0.5))


@pytest.mark.parametrize("sigma", [0.0, 0.4, 1.5])
def test_the_spread_moves_and_the_product_stays(given, weight, sigma):
    scaled, thinned = channels.moved(given, weight, sigma)
    assert channels.spread(scaled) == pytest.approx(sigma, abs=1e-5)
    exact = given.double() @ weight.double().T
    assert float((scaled.double() @ thinned.double().T - exact).norm() / exact.norm()) < 1e-6


def test_no_spread_makes_all_channels_equally_large_and_a_dead_one_stays_dead(given, weight):
    dead = given.clone()
    dead[:, 3] = 0
    most = channels.moved(dead, weight, 0.0)[0].abs().amax(0)
    assert most[3] == 0 and most[most > 0].tolist() == pytest.approx([float(most[0])] * 255, rel=1e-5)


def test_the_model_computes_the_same_when_its_outliers_are_moved(demo, given):
    """As the demo was made (`demo.making.outliers`): the norm's gain takes what the columns of its readers lose."""
    network = transformers.AutoModelForCausalLM.from_pretrained(demo.folder, dtype=torch.float32)
    ids = torch.arange(3, 60).unsqueeze(0)
    with torch.inference_mode():
        before = network(input_ids=ids).logits
        layer = network.model.layers[1]
        factors = channels.moved(given, torch.ones(1, 256), 1.2)[1].reciprocal().flatten()
        layer.post_attention_layernorm.weight.mul_(factors)
        for reader in (layer.mlp.gate_proj, layer.mlp.up_proj):
            reader.weight.div_(factors)
        after = network(input_ids=ids).logits
    assert torch.allclose(before, after, atol=2e-3)


@pytest.mark.parametrize("threshold", [0.0, 6.0])
def test_losses_are_those_of_bitsandbytes_own_layer(given, weight, threshold):
    import bitsandbytes as bnb

    layer = bnb.nn.Linear8bitLt(256, weight.shape[0], bias=False, has_fp16_weights=False, threshold=threshold)
    layer.weight = bnb.nn.Int8Params(weight.half(), requires_grad=False, has_fp16_weights=False)
    layer = layer.to("cpu").eval()
    exact = given.double() @ weight.double().T
    with torch.inference_mode():
        theirs = float((layer(given.half()).double() - exact).norm() / exact.norm())
    loss = channels.losses(given, weight, 0.0)
    assert (loss.kept if threshold else loss.rows) == pytest.approx(theirs, rel=0.01)


def test_more_spread_costs_more_and_outliers_in_16_bits_save_some_of_it(seen):
    tensors, rows, kept = ([getattr(each, field) for each in seen.losses] for field in ("tensor", "rows", "kept"))
    # From the model's own spread on; without any the outliers are the weights'.
    own = next(place for place, each in enumerate(seen.losses) if each.sigma > seen.sigma)
    assert tensors[own:] == sorted(tensors[own:]) and rows[own:] == sorted(rows[own:])
    assert all(one > other for one, other in zip(tensors, rows, strict=True))
    assert all(one >= other for one, other in zip(rows, kept, strict=True)) and rows[-1] > 1.2 * kept[-1]
    assert seen.loss.sigma == seen.sigma
    assert "In 8 bits the product is off by" in inside.told_of_channels(seen)


def test_the_corner_step_by_step(seen, given, weight):
    made = seen.product
    look = inside.look(REQUEST, APP, others=False)
    assert (made.row, made.column) == (look.row, look.column)
    assert made.codes[0] == look.grid.codes[:4] and made.kept[0] == look.grid.kept[:4]
    for token in range(4):
        for output in range(4):
            row, column = made.row + output, made.column
            terms = [
                float(given[-4 + token, column + place]) * float(weight[row, column + place]) for place in range(4)
            ]
            assert made.exact[token][output] == pytest.approx(sum(terms))
            ours = sum(a * b for a, b in zip(made.activations[token], made.kept[output], strict=True))
            size = sum(abs(a * b) for a, b in zip(made.activations[token], made.kept[output], strict=True))
            assert made.computed[token][output] == pytest.approx(ours, abs=size * 3 / 256), "three bfloat16 roundings"


@pytest.mark.parametrize("sigma", [-0.1, 3.5, float("nan")])
def test_a_spread_that_cannot_be_is_told(sigma):
    with pytest.raises(BadInput, match="The spread cannot be"):
        inside.outliers(REQUEST, APP, sigma)


def test_typed_numbers_meet_no_activations():
    with pytest.raises(BadInput, match="Typed numbers meet no activations"):
        inside.outliers(replace(REQUEST, values="1 2"), APP)


def test_a_model_that_does_not_fit_is_told_before_it_is_loaded(monkeypatch):
    activations._entering.cache_clear()  # another test may have read it
    monkeypatch.setattr("quantlab.runs.estimates.budget", lambda device, held=0: 1_000)
    with pytest.raises(BadInput, match=r"takes the whole model, .* in float32, and 1,000 bytes may be used"):
        inside.outliers(replace(REQUEST, layer="model.layers.0.mlp.up_proj"), APP)

"""Training on the codes of GPTQ: a gradient passes its kernel as it would the weights that the codes stand for."""

from dataclasses import replace

import pytest
import torch

from quantlab import models
from quantlab.errors import BadInput
from quantlab.finetune.job import READ, check
from quantlab.finetune.training import _parameters
from quantlab.records import Placement
from quantlab.records.finetuning import FinetuneSettings
from quantlab.settings import app_settings
from tests.loading import load

#: Of a norm. Products in bfloat16 are rounded to 8 bits.
TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-2}


@pytest.mark.slow
@pytest.mark.parametrize("computed", TOLERANCE)
@pytest.mark.parametrize("name", ["gptq-8", "gptq-4", "gptq-3"])
def test_the_gradient_is_that_of_the_weights(name, computed):
    model = models.resolve_main("demo", app_settings())
    loaded = load(model, name, placement=Placement("cpu", computed))
    try:
        layer = loaded.network.model.layers[0].mlp.down_proj.train()
        dtype = getattr(torch, computed)
        with torch.no_grad():  # a unit vector gives a row of W^T, bit by bit
            weights = layer(torch.eye(layer.in_features, dtype=dtype)).float()
        draws = torch.Generator().manual_seed(0)
        given = torch.randn(5, layer.in_features, generator=draws).to(dtype).requires_grad_()
        back = torch.randn(5, layer.out_features, generator=draws).to(dtype)
        layer(given).backward(back)
        wanted = back.float() @ weights.T
        assert float((given.grad.float() - wanted).norm() / wanted.norm()) < TOLERANCE[computed]
    finally:
        loaded.close()


def test_dora_needs_weights():
    with pytest.raises(BadInput, match="no DoRA on gptq-4"):
        check(FinetuneSettings("gptq-4", dora=True))
    check(replace(FinetuneSettings("gptq-4"), rslora=True))
    assert "gptq-4" not in READ


def test_packed_weights_are_counted():
    """As many as they stand for, and the adapters' own beside them."""

    class Packed(torch.nn.Module):
        in_features, out_features = 64, 16

        def __init__(self):
            super().__init__()
            self.register_buffer("qweight", torch.zeros(8, 16, dtype=torch.int32))

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.packed, self.adapter = Packed(), torch.nn.Linear(64, 2, bias=False)

        def get_nb_trainable_parameters(self):
            return 128, 128

    assert _parameters(Network(), adapters=True) == (128, 128 + 64 * 16)

"""HQQ on the kinds of layers that models have, and what its bits are worth."""

import pytest
import torch

from tests import tiny
from tests.loading import load

PROMPT = [1, *range(40, 60)]


@pytest.mark.parametrize("family", ["llama", "qwen2-untied-biases", "gpt2"])
def test_fewer_bits_lose_more_in_every_kind_of_layer(tmp_path, family):
    model = tiny.write(tmp_path, family)
    reference = torch.cat(list(_scores(model, "fp32")))
    lost = {}
    for name in ("hqq-4", "hqq-2"):
        scores = torch.cat(list(_scores(model, name)))
        lost[name] = torch.nn.functional.kl_div(scores, reference, log_target=True, reduction="batchmean").item()
    assert 0 < lost["hqq-4"] < 0.5 * lost["hqq-2"]


def _scores(model, name):
    loaded = load(model, name)
    yield from loaded.start().score(PROMPT)
    loaded.close()

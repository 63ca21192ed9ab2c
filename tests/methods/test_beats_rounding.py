"""On text of the demo's world that nobody trained or calibrated on, GPTQ and AWQ lose less than plain rounding."""

import pytest
import torch

from quantlab.demo.corpus import END, held_out_documents
from quantlab.methods import precision
from quantlab.models.source import DEMO_FOLDER
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import Model, Placement
from tests.loading import LITTLE, load

DEMO = Model("demo", "demo", DEMO_FOLDER)


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    tokenizer = load_tokenizer(DEMO)
    return [tokenizer(text if text.endswith(END) else text + END)["input_ids"] for text in held_out_documents(12)]


def scores(name: str, texts: list[list[int]]) -> torch.Tensor:
    """Log-probabilities `[tokens, vocabulary]` of all the texts."""
    loaded = load(DEMO, name, placement=Placement("cpu", compute_dtype="float32"), calibration=LITTLE)
    found = torch.cat([block for ids in texts for block in loaded.start().score(ids)])
    loaded.close()
    return found.double()


@pytest.fixture(scope="module")
def kld(texts):
    """Mean KLD of a precision to fp32 in nats."""
    reference = scores("fp32", texts)

    def measured(name: str) -> float:
        return (
            torch.nn.functional.kl_div(scores(name, texts), reference, log_target=True, reduction="none")
            .sum(-1)
            .mean()
            .item()
        )

    return measured


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "baseline"),
    [("gptq-4", "rtn-4"), ("gptq-3", "rtn-3"), ("gptq-2", "rtn-2"), ("awq-4", "rtn-4")],
)
def test_less_is_lost_than_by_rounding_to_nearest(kld, name, baseline):
    ours, theirs = precision(name), precision(baseline)
    assert ours.group_size == theirs.group_size
    assert 0 < kld(name) < 0.6 * kld(baseline)

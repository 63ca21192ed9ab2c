"""A sample of `make sweep`: plain families, mixtures, recurrent and hybrid kinds, odd linear layers, refusals."""

import pytest

from quantlab.runtime.pieces import PROVEN
from tests.architectures.report import markdown
from tests.architectures.trial import Outcome, Trial, trial

RIGHT = """
    llama gpt2 gpt_neox opt bloom mpt falcon phi3 stablelm gemma2 gemma3 cohere2 olmo2 starcoder2
    mixtral qwen2_moe llama4_text gpt_oss jamba mamba lfm2 qwen3_next
    """.split()
REFUSED = {
    "rwkv": "keeps no key-value cache",
    "bart": "encoder with a decoder",
    "cpmant": "expects the whole text",
}


@pytest.fixture(autouse=True)
def _quiet():
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    yield
    logging.set_verbosity(verbosity)


@pytest.mark.parametrize(
    "kind", [kind if kind in ("llama", "mixtral") else pytest.param(kind, marks=pytest.mark.slow) for kind in RIGHT]
)
def test_a_kind_gives_the_tokens_of_generate_and_the_bytes_estimated(kind):
    found = trial(kind, ("fp32", "nf4", "rtn-4"))
    assert not found.unbuilt
    assert {o.precision: (o.verdict, o.why) for o in found.outcomes} == dict.fromkeys(
        ("fp32", "nf4", "rtn-4"), ("right", "")
    )


@pytest.mark.parametrize("kind", REFUSED)
def test_a_kind_that_cannot_be_measured_is_refused_in_words(kind):
    found = trial(kind, ("fp32", "nf4"))
    assert found.verdict == "refused", found
    assert all(REFUSED[kind] in outcome.why for outcome in found.outcomes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(PROVEN - set(RIGHT)))
def test_a_kind_that_is_called_proven_is(kind):
    """It is not tried again at each load, so it has to hold here."""
    assert trial(kind, ("fp32",)).verdict == "right"


def test_the_document_counts_and_lists():
    said = "half stays wide: a, b and 2 more"
    trials = [
        Trial("one", "One", 5, outcomes=(Outcome("fp32", "right"), Outcome("nf4", "right", "", (said,)))),
        Trial("two", "Two", 5, outcomes=(Outcome("fp32", "refused", "it is | no model"),)),
        Trial("three", unbuilt="needs timm"),
    ]
    text = markdown(trials, 90)
    assert "3 kinds, 2 of them built: 1 right, 1 refused, 0 wrong, 0 broken. It took 2 minutes." in text
    assert "| one | nf4: half stays wide |" in text and r"| two | it is \| no model |" in text
    assert "| three | needs timm |" in text and "## Wrong or broken" not in text

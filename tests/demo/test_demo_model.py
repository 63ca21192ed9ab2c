"""The bundled model: what its card says holds, and it loses quality with its bits in the right order."""

import json

import pytest

from quantlab.demo.making import evaluate
from quantlab.models import config, resolve, tensors
from quantlab.models.tokenizer import encode_prompt, load_tokenizer
from quantlab.records import Placement
from quantlab.settings import ASSETS, AppSettings
from tests.engine_tools import generated, greedy

FOLDER = ASSETS / "demo-model"
CARD = json.loads((FOLDER / "measured.json").read_text())
LADDER = {rung["precision"]: rung for rung in CARD["ladder"]}
ORDER = ("int8", "nf4", "fp4", "rtn-3", "rtn-2")


@pytest.fixture(scope="module")
def model():
    return resolve("demo", AppSettings())


def test_it_is_small_and_every_row_suits_k_quants(model):
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 10_000_000
    values = config(model)
    assert values["hidden_size"] % 256 == values["intermediate_size"] % 256 == 0
    assert values["max_position_embeddings"] == 1_024
    assert {info.dtype for info in tensors(model).values()} == {"BF16"}


def test_the_measured_ladder_reaches_its_targets():
    kld = {name: rung["kld"] for name, rung in LADDER.items()}
    assert [kld[name] for name in ORDER] == sorted(kld[name] for name in ORDER)
    assert kld["int8"] <= 0.003 <= kld["nf4"] <= 0.1 < 0.4 <= kld["rtn-2"]
    assert 0.05 <= kld["rtn-3"] <= 0.6
    facts = {name: rung["facts"] for name, rung in LADDER.items()}
    assert facts["fp32"] >= 0.97
    assert facts["int8"] >= facts["fp32"] - 0.01
    assert facts["nf4"] >= 0.85
    assert 0.3 <= facts["rtn-3"] <= 0.95
    assert facts["rtn-2"] <= 0.4


@pytest.mark.slow
def test_measuring_again_gives_the_order_and_the_facts(monkeypatch):
    """A smaller sample than the card's, so the bounds are wider; the order is not negotiable."""
    monkeypatch.setattr(evaluate, "DOCUMENTS", 30)
    monkeypatch.setattr(evaluate, "FACTS", 100)
    monkeypatch.setattr(evaluate, "SUMS", 20)
    rungs = {rung.precision: rung for rung in evaluate.ladder(FOLDER, ("fp32", *ORDER))}
    kld = [rungs[name].kld for name in ORDER]
    assert kld == sorted(kld)
    assert rungs["fp32"].facts >= 0.93
    assert rungs["nf4"].kld == pytest.approx(LADDER["nf4"]["kld"], rel=0.5)


def test_it_says_in_its_chat_template_what_the_corpus_taught_it(model):
    from quantlab.demo.corpus import turn

    tokenizer = load_tokenizer(model)
    ids = encode_prompt(tokenizer, "Where does Mira Toll live?", raw=False)
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id
    asked = tokenizer(turn("Where does Mira Toll live?", "x"))["input_ids"]
    assert ids == asked[: len(ids)]


def test_greedy_tokens_equal_generate(model):
    tokenizer = load_tokenizer(model)
    ids = encode_prompt(tokenizer, "Tell me a story about Mira Toll.", raw=False)
    expected = generated(FOLDER, ids, 64)
    assert len(set(expected)) >= 10
    assert greedy(model, Placement("cpu"), "fp32", ids, 64) == expected


def test_split_over_cpu_and_disk_gives_the_same_tokens(model):
    ids = encode_prompt(load_tokenizer(model), "Where does Mira Toll live?", raw=False)
    layers = [(f"model.layers.{i}", "disk" if i == 1 else "cpu") for i in range(config(model)["num_hidden_layers"])]
    rest = [(name, "cpu") for name in ("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head")]
    split = Placement("cpu", device_map=(*layers, *rest))
    assert greedy(model, split, "fp32", ids, 32) == greedy(model, Placement("cpu"), "fp32", ids, 32)

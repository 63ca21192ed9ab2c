"""Our `LM` beside the harness's `HFLM` over the same network: same tokens, same sums, same texts."""

import pytest

from quantlab.errors import BadInput
from quantlab.models.tokenizer import load_tokenizer
from tests import tiny
from tests.loading import load

FAMILIES = ("llama", "mistral-sliding", "gpt2")
LONG = "In Wexby lived a smith. " * 30
PAIRS = (
    ("Mira lives in", " Wexby."),
    ("Mira lives in ", "Wexby."),
    ("Mira lives in \n ", "Wexby"),
    ("", "Wexby"),
    ("", "<s>Wexby"),
    ("<s>Mira", " lives"),
    # One reading for all of these.
    ("The answer is", " A"),
    ("The answer is", " B"),
    ("The answer is ", "C"),
    ("The answer", " is D"),
    # Longer than the context of 256 tokens: cut on the left.
    (LONG, " A smith."),
    (LONG[:256], "x"),
    (LONG[:255], "xy"),
)


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request, tmp_path_factory):
    """Our adapter, theirs, and the requests that ours was told of.

    Without its cache: with it HFLM takes the wrong rows where two endings of one text begin at different places.
    """
    from lm_eval.models.huggingface import HFLM

    from quantlab.fidelity.tasks.adapter import SessionLM

    model = tiny.write(tmp_path_factory.mktemp(request.param), request.param)
    loaded, tokenizer = load(model, "fp32"), load_tokenizer(model)
    told: list[tuple[int, str]] = []
    ours = SessionLM(loaded, tokenizer, (), lambda *tick: told.append(tick))
    yield ours, HFLM(pretrained=loaded.network, tokenizer=load_tokenizer(model), batch_size=1, logits_cache=False), told
    loaded.close()


def requests(kind: str, arguments) -> list:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, args, 0, metadata=("task", i, 1)) for i, args in enumerate(arguments)]


def test_log_likelihoods_are_those_of_hflm(pair):
    ours, theirs, told = pair
    told.clear()
    found = ours.loglikelihood(requests("loglikelihood", PAIRS))
    expected = theirs.loglikelihood(requests("loglikelihood", PAIRS), disable_tqdm=True)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert [total for total, _ in found] == pytest.approx([total for total, _ in expected], abs=2e-4)
    assert sum(count for count, _ in told) == len(PAIRS) and max(told) == (4, "task")


def test_a_greedy_ending_is_told_as_one(pair):
    ours, theirs, _ = pair
    (written,) = ours.generate_until(requests("generate_until", [("Mira lives in", {"until": [], "max_gen_toks": 1})]))
    if written:  # the likeliest token may be half a character or a special one
        asked = [("Mira lives in", written), ("Mira lives in", written + "qq")]
        expected = theirs.loglikelihood(requests("loglikelihood", asked), disable_tqdm=True)
        assert [greedy for _, greedy in ours.loglikelihood(requests("loglikelihood", asked))] == [
            greedy for _, greedy in expected
        ]


def test_whole_texts_are_those_of_hflm(pair):
    ours, theirs, _ = pair
    texts = [("short",), (LONG,)]
    found = ours.loglikelihood_rolling(requests("loglikelihood_rolling", texts))
    expected = theirs.loglikelihood_rolling(requests("loglikelihood_rolling", texts), disable_tqdm=True)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "wanted",
    [
        {"until": ["\n"], "max_gen_toks": 24},
        {"until": [], "max_new_tokens": 12},
        {"until": ["e", "a"], "max_gen_toks": 40, "do_sample": False},
    ],
)
def test_written_answers_are_those_of_hflm(pair, wanted):
    ours, theirs, _ = pair
    asked = [("In Wexby lived", wanted), (LONG, wanted), ("<s>Who?", wanted)]
    found = ours.generate_until(requests("generate_until", asked))
    assert found == theirs.generate_until(requests("generate_until", asked), disable_tqdm=True)
    assert any(found)


def test_what_does_not_fit_is_refused(pair):
    ours, _, _ = pair
    with pytest.raises(BadInput, match="longer than the model's 256 tokens"):
        ours.loglikelihood(requests("loglikelihood", [("x", LONG)]))
    with pytest.raises(BadInput, match="is empty"):
        ours.loglikelihood(requests("loglikelihood", [("x", "")]))
    with pytest.raises(BadInput, match="answers of 256 tokens"):
        ours.generate_until(requests("generate_until", [("x", {"until": []})]))

"""What an error repeats of what was typed is never longer than can be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import quantlab
from quantlab import models
from quantlab.errors import BadInput, QuantlabError, shortened
from quantlab.methods import precision
from quantlab.methods.published import read
from quantlab.runtime import placement
from quantlab.settings import AppSettings
from quantlab.teach.plan import cards, planning
from quantlab.teach.plan.asked import Asked
from quantlab.ui.compare import form

LOCAL = AppSettings(public=False)
MANY, LONG, SPACED = 10**98, "x" * 5_000, "hello world " * 500


@pytest.mark.parametrize(
    "asked",
    [
        lambda: planning.check(Asked(context=MANY)),
        lambda: planning.check(Asked(batch=-MANY)),
        lambda: cards.card(str(MANY)),
        lambda: cards.card(SPACED),
        lambda: form.check(form.Choice(precisions=("nf4",), prompt="Hello", max_new_tokens=MANY), LOCAL),
        lambda: form.check(form.Choice(precisions=("nf4",), prompt="Hello", calibration_samples=MANY), LOCAL),
        lambda: form.check(form.Choice(precisions=("nf4",), prompt="Hello", calibration_length=MANY), LOCAL),
        lambda: form.check(form.Choice(precisions=("nf4",), prompt="Hello", reference=LONG), LOCAL),
        lambda: models.resolve(LONG, LOCAL),
        lambda: models.resolve(SPACED, LOCAL),
        lambda: models.resolve(f"./{LONG}", LOCAL),
        lambda: models.resolve_main(f"demo::{LONG}", LOCAL),
        lambda: precision(LONG),
        lambda: precision(f"rtn-4-g{MANY}"),
        lambda: precision(f"nf4+kv-{LONG}"),
        lambda: read(f"::{SPACED}"),
        lambda: placement.resolve(quantlab.Placement(device=SPACED)),
        lambda: placement.resolve(quantlab.Placement(device=f"cuda:{MANY}")),
        lambda: quantlab.plan("demo", context=MANY),
    ],
)
def test_no_error_prints_at_length_what_was_typed(asked):
    with pytest.raises(QuantlabError) as raised:
        asked()
    assert len(raised.value.what) < 400, raised.value.what
    assert str(MANY) not in str(raised.value)


def test_a_number_is_left_with_its_first_digits_and_their_count():
    assert BadInput(f"The context cannot be {MANY}.").what == "The context cannot be 100000000000… (99 digits)."
    assert shortened(f"{MANY:,} tokens") == "100,000,000… (99 digits) tokens"
    assert shortened("1,000,000,000 of 10485760000000") == "1,000,000,000 of 10485760000000"


@pytest.mark.parametrize(
    "kept",
    [
        "The model's folder 'a' and the others' folders 'b' cannot be read: " + "one word after another " * 30,
        "/home/somebody/.cache/huggingface/hub/models--owner--name/snapshots/"
        + "0a" * 20
        + "/model.safetensors is cut",
        "It's 'so' and \"so\".",
    ],
)
def test_what_can_be_read_stays(kept):
    assert shortened(kept) == kept


def test_of_a_long_word_both_ends_stay():
    told = shortened(f"{'/a' * 200}/model.gguf is no file.")
    assert told.startswith("/a/a") and "…" in told and told.endswith("/model.gguf is no file.") and len(told) < 220
    told = shortened(f"There is no {SPACED!r} here.")
    assert told.startswith("There is no 'hello world") and told.endswith("' here.") and len(told) < 230


@given(st.text(max_size=900))
def test_it_never_makes_a_sentence_longer_and_settles_at_once(text):
    once = shortened(text)
    assert len(once) <= len(text) and shortened(once) == once

"""How an answer ended, and what it holds."""

from dataclasses import replace

import pytest

from quantlab.records import Run
from quantlab.reporting.text import cut_at, holds_code, said, tokens

RUN = Run("fp32", text="One two", token_ids=(1, 2, 3), tokens=("One", " two", "<|end|>"))


def test_the_end_of_text_token_is_not_said():
    assert said(RUN) == ("One", " two")
    # A decoder of whole texts leaves out the space before the first word.
    assert said(replace(RUN, tokens=(" One", " two", "</s>"))) == (" One", " two")


@pytest.mark.parametrize(
    ("run", "limit", "cut"),
    [
        (RUN, 3, 0),  # it ended by itself, with the last token that was free
        (RUN, 2, 2),
        (replace(RUN, tokens=("One", " two"), token_ids=(1, 2)), 2, 2),
        (replace(RUN, tokens=("One", " two", "\n"), text="One two\n"), 3, 3),  # a line end is said
        (replace(RUN, tokens=("One", " two"), token_ids=(1, 2)), 3, 0),
        (replace(RUN, tokens=("One", " two"), token_ids=(1, 2), stopped=True), 2, 0),
        (Run("fp32", error="It broke."), 2, 0),
    ],
)
def test_an_answer_that_ends_by_the_limit_is_told_from_one_that_ends_by_itself(run, limit, cut):
    assert cut_at(run, limit) == cut


def test_code_is_known_by_its_fence():
    assert holds_code("So:\n```python\nprint(1)\n```") and not holds_code("`one` word")


def test_one_token_is_no_tokens():
    assert [tokens(count) for count in (0, 1, 64, 4_096)] == ["0 tokens", "1 token", "64 tokens", "4,096 tokens"]

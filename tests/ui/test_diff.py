"""The token-aligned diff."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from quantlab.ui.compare.diff import OURS, THEIRS, diff

TOKENS = st.lists(st.sampled_from([" the", " a", ".", " fox", "\n", " ran"]), max_size=60)


@given(TOKENS, TOKENS)
def test_the_pieces_spell_both_answers(ours, theirs):
    pieces = diff(ours, theirs)
    assert "".join(text for text, mark in pieces if mark != THEIRS) == "".join(ours)
    assert "".join(text for text, mark in pieces if mark != OURS) == "".join(theirs)


@given(TOKENS, TOKENS)
def test_neighbours_never_share_a_mark(ours, theirs):
    marks = [mark for _, mark in diff(ours, theirs)]
    assert all(a != b for a, b in pairwise(marks))


def test_equal_answers_have_no_marks():
    assert diff(["a", " b"], ["a", " b"]) == [("a b", None)]


def test_a_token_is_marked_whole():
    assert diff([" house", "s"], [" house", " s"]) == [(" house", None), (" s", THEIRS), ("s", OURS)]


def test_a_frequent_token_is_not_taken_for_noise():
    common = [" x"] * 300
    assert diff(common, [*common, " y"]) == [(" x" * 300, None), (" y", THEIRS)]

"""What differs between a run's answer and the reference's, token by token."""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

#: Marks of a piece: only in this answer, only in the reference's; None is in both. gr.HighlightedText takes such pairs.
OURS, THEIRS = "+", "-"
Piece = tuple[str, str | None]


def diff(tokens: Sequence[str], reference: Sequence[str]) -> list[Piece]:
    """Align two answers by their tokens: pieces in reading order, neighbours of one mark joined.

    The pieces without `-` spell this answer, those without `+` the reference's.
    """
    joined: list[Piece] = []
    for text, mark in _pieces(tokens, reference):
        if joined and joined[-1][1] == mark:
            joined[-1] = (joined[-1][0] + text, mark)
        else:
            joined.append((text, mark))
    return joined


def _pieces(tokens: Sequence[str], reference: Sequence[str]) -> Iterator[Piece]:
    # autojunk would call a frequent token noise and mark it although it is the same on both sides.
    matcher = SequenceMatcher(a=reference, b=tokens, autojunk=False)
    for tag, a_start, a_end, b_start, b_end in matcher.get_opcodes():
        theirs, ours = "".join(reference[a_start:a_end]), "".join(tokens[b_start:b_end])
        if tag == "equal":
            yield ours, None
            continue
        if theirs:
            yield theirs, THEIRS
        if ours:
            yield ours, OURS

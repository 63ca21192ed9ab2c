"""A text as windows of tokens, read one by one, each from an empty cache.

The convention is llama.cpp's `llama-perplexity`, so that figures can be set beside its: windows of 512 tokens without
overlap, BOS in place of the first token of each where the tokenizer puts one before a text by itself, and only the
second half scored, where every token has at least 256 before it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from quantlab.errors import BadInput
from quantlab.records import Text, TextFacts

WINDOW = 512


@dataclass(frozen=True)
class Windows:
    """Token ids `[windows, size]`, scored in each from `first` on. `tokens` counts those of the whole text."""

    ids: tuple[tuple[int, ...], ...]
    first: int
    tokens: int

    @property
    def size(self) -> int:
        return len(self.ids[0])

    @property
    def scored_each(self) -> int:
        """Tokens that are scored in one window."""
        return self.size - self.first

    @property
    def scored(self) -> int:
        return self.scored_each * len(self.ids)

    @property
    def digest(self) -> str:
        """Tells two readings apart: sha256 of the ids and of where scoring begins."""
        return hashlib.sha256(repr((self.ids, self.first)).encode()).hexdigest()

    def facts(self, text: Text) -> TextFacts:
        """What is said of the text that these windows were cut from."""
        return TextFacts(text.name, text.digest, self.tokens, self.scored, len(self.ids), self.size)

    def following(self) -> tuple[int, ...]:
        """The token ids that are scored, of all windows."""
        return tuple(i for window in self.ids for i in window[self.first :])


def windows(token_ids: Sequence[int], bos_id: int | None, context: int, limit: int | None = None) -> Windows:
    """Cut a text's tokens into windows of `WINDOW`, or of the model's `context` where that is shorter.

    `bos_id`, where there is one, replaces token 0 of each; tokens `size // 2 + 1` to the last are scored; a partial
    last window is dropped, and so is what lies beyond `limit` windows. Raises BadInput for a text that fills none.
    """
    size = min(WINDOW, context)
    count = len(token_ids) // size
    if not count:
        raise BadInput(f"The text has {len(token_ids)} tokens, and one window takes {size}.", "Give a longer text.")
    count = min(count, limit or count)
    starts = range(0, count * size, size)
    cut = (tuple(token_ids[at : at + size]) for at in starts)
    ids = cut if bos_id is None else ((bos_id, *window[1:]) for window in cut)
    return Windows(tuple(ids), size // 2 + 1, len(token_ids))

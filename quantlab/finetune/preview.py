"""The first rows of a data file as they are trained: which tokens there are, and of which a loss is taken."""

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from quantlab import models
from quantlab.finetune import data, sets
from quantlab.finetune.tokens import TokenRow, token_rows
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records.finetuning import FinetuneSettings, PreviewToken
from quantlab.settings import app_settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Preview = tuple[tuple[PreviewToken, ...], ...]


def preview(model: str, file: str | Path, asked: FinetuneSettings, count: int = 3) -> Preview:
    """The first `count` rows of `file`, which may be a bundled set's name, by the tokenizer of `model`.

    Raises BadInput or ModelError.
    """
    found = models.resolve_main(model, app_settings())
    tokenizer = load_tokenizer(found)
    rows = token_rows(tokenizer, data.rows(sets.file_of(file))[:count], asked.context, asked.raw, found.name)
    return tuple(_row(tokenizer, row) for row in rows)


def _row(tokenizer: "PreTrainedTokenizerBase", row: TokenRow) -> tuple[PreviewToken, ...]:
    """Each token's text is what it adds to the text before it: alone it may be no whole character."""
    texts = [tokenizer.decode(row.ids[:end], clean_up_tokenization_spaces=False) for end in range(len(row.ids) + 1)]
    added = [after.removeprefix(before) for before, after in pairwise(texts)]
    return tuple(PreviewToken(text, learnt) for text, learnt in zip(added, row.trained, strict=True))

"""Rows as token ids, each with whether the model is to learn to write it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from quantlab.errors import BadInput, ModelError
from quantlab.finetune.data import Row, Turn
from quantlab.models.tokenizer import added_bos

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Piece = tuple[str, bool]


@dataclass(frozen=True)
class TokenRow:
    """`trained[i]`: the loss is taken of `ids[i]`, as the prediction of what stands before it. `cut`: the context was
    too short for all of the row."""

    line: int
    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    cut: bool = False


def token_rows(
    tokenizer: "PreTrainedTokenizerBase", rows: Sequence[Row], context: int, raw: bool, name: str
) -> tuple[TokenRow, ...]:
    """Each row within `context` tokens; what is longer is cut at its end, and a row that has nothing left to learn is
    left out.

    Each piece is encoded by itself: an answer is generated behind a prompt that was encoded alone. Raises BadInput
    where no row can be learnt from, ModelError where the chat template cannot be parted into turns.
    """
    found = [_cut(_row(tokenizer, row, raw, name), context) for row in rows]
    learnt = tuple(row for row in found if any(row.trained[1:]))
    if not learnt:
        raise BadInput(
            f"No row has anything to learn within {context} tokens.", "Raise the context, or shorten the prompts."
        )
    return learnt


def _row(tokenizer: "PreTrainedTokenizerBase", row: Row, raw: bool, name: str) -> TokenRow:
    chat = bool(tokenizer.chat_template) and not raw and all(turn.role for turn in row.turns)
    pieces = _in_template(tokenizer, row.turns, name) if chat else _plain(row.turns)
    ids, trained = [], []
    if not chat and (bos := added_bos(tokenizer)) is not None:
        ids, trained = [bos], [False]
    for text, learn in pieces:
        piece = tokenizer.encode(text, add_special_tokens=False)
        ids += piece
        trained += _until_end(piece, tokenizer.eos_token_id) if learn else [False] * len(piece)
    if not chat and tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
        trained.append(True)
    return TokenRow(row.line, tuple(ids), tuple(trained))


def _plain(turns: Sequence[Turn]) -> list[Piece]:
    return [(turn.text, turn.trained) for turn in turns]


def _in_template(tokenizer: "PreTrainedTokenizerBase", turns: Sequence[Turn], name: str) -> list[Piece]:
    """Pieces of the rendered conversation. What the template lays around an answer's text, to its end, is learnt."""
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    pieces: list[Piece] = []
    done = ""
    for at, turn in enumerate(turns):
        if not turn.trained:
            continue
        asked = _rendered(tokenizer, messages[:at], True, name)
        answered = _rendered(tokenizer, messages[: at + 1], False, name)
        if not (asked.startswith(done) and answered.startswith(asked)):
            raise ModelError(
                f"The chat template of {name} changes earlier turns when one is added.",
                "Train it without: choose raw text.",
            )
        pieces += [(asked[len(done) :], False), (answered[len(asked) :], True)]
        done = answered
    return pieces


def _rendered(tokenizer: "PreTrainedTokenizerBase", messages: list[dict[str, str]], asking: bool, name: str) -> str:
    try:
        return tokenizer.apply_chat_template(messages, add_generation_prompt=asking, tokenize=False)
    except Exception as error:  # a template may raise anything, on purpose too
        raise ModelError(
            f"The chat template of {name} takes no such conversation: {error}.", "Train it without: choose raw text."
        ) from error


def _until_end(ids: Sequence[int], end: int | None) -> list[bool]:
    """All up to the token that ends an answer: what a template writes behind it nobody generates."""
    last = ids.index(end) if end in ids else len(ids)
    return [at <= last for at in range(len(ids))]


def _cut(row: TokenRow, context: int) -> TokenRow:
    if len(row.ids) <= context:
        return row
    return replace(row, ids=row.ids[:context], trained=row.trained[:context], cut=True)

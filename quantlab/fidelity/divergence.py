"""Where two variants part, and how far apart they are on the same tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quantlab.records import Candidate, Divergence, TokenDifference
from quantlab.runtime.session import Session

if TYPE_CHECKING:
    import torch

TOP = 5
#: The reference's log-probabilities are kept on the host while the others are scored; past this many bytes the
#: comparison is cut to the first positions.
REFERENCE_BYTES = 2**29


@dataclass(frozen=True)
class TopTokens:
    """The likeliest tokens at one position: ids and probabilities, best first."""

    token_ids: tuple[int, ...]
    probabilities: tuple[float, ...]


def top_tokens(logits: "torch.Tensor", chosen: int) -> TopTokens:
    """The `TOP` likeliest tokens of logits `[vocabulary]`, and the `chosen` one where sampling took none of them."""
    probabilities = logits.float().softmax(-1)
    best = probabilities.topk(min(TOP, logits.shape[-1]))
    rows = dict(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    rows.setdefault(chosen, float(probabilities[chosen]))
    # Equal logits, common in 16 bits, come in any order: the token that was taken is the first of its equals.
    ordered = sorted(rows, key=lambda token_id: (-rows[token_id], token_id != chosen))
    return TopTokens(tuple(ordered), tuple(rows[token_id] for token_id in ordered))


def nonfinite(logits: "torch.Tensor") -> int:
    """How many logits are infinite or not a number."""
    import torch

    # One pass without a mask where all is well: any such value makes the sum one.
    if bool(logits.sum(dtype=torch.float64).isfinite()):
        return 0
    return int((~logits.isfinite()).sum())


def first_difference(ours: Sequence[int], reference: Sequence[int]) -> int | None:
    """Index of the first token that differs; None where one is the beginning of the other.

    Both hold every token that was computed, also past end-of-text, so equal lengths mean equal texts.
    """
    return next((i for i, (a, b) in enumerate(zip(ours, reference, strict=False)) if a != b), None)


def divergence(
    ours: Sequence[int],
    reference: Sequence[int],
    our_tops: Sequence[TopTokens],
    reference_tops: Sequence[TopTokens],
    texts: "dict[int, str]",
) -> Divergence | None:
    """The first difference with both tables there. `texts` names every token id of the tables."""
    index = first_difference(ours, reference)
    if index is None:
        return None
    return Divergence(index, _candidates(our_tops[index], texts), _candidates(reference_tops[index], texts))


def _candidates(top: TopTokens, texts: "dict[int, str]") -> tuple[Candidate, ...]:
    return tuple(Candidate(i, texts[i], p) for i, p in zip(top.token_ids, top.probabilities, strict=True))


def score_answer(session: Session, prompt: Sequence[int], answer: Sequence[int], vocabulary: int) -> "torch.Tensor":
    """Log-probabilities `[positions, vocabulary]`, float32 on the host, of the answer read after the prompt.

    Positions are those of the answer, cut to what `REFERENCE_BYTES` hold.
    """
    import torch

    kept = answer[: max(1, REFERENCE_BYTES // (4 * vocabulary))]
    blocks = session.score([*prompt, *kept], start=len(prompt))
    return torch.cat([block.cpu() for block in blocks])


def token_differences(
    ours: "torch.Tensor",
    reference: "torch.Tensor",
    answer: Sequence[int],
    tokens: Sequence[str],
    text_of: Callable[[int], str] = str,
) -> tuple[TokenDifference, ...]:
    """Compare two tables of log-probabilities `[positions, vocabulary]` position by position.

    `kld` is sum p * (ln p - ln q) over the vocabulary in nats, p the reference (Kullback and Leibler 1951), where a
    token with p = 0 adds nothing. Of two vocabularies padded differently the smaller one counts. Where logits are not
    a number, `kld` and the probability are none either, and no token counts as the same. `text_of` names a token.
    """
    import torch

    width = min(ours.shape[-1], reference.shape[-1])
    q, p = ours[:, :width].double(), reference[:, :width].double()
    followed = torch.tensor(answer[: len(p)]).unsqueeze(-1)
    terms = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none")
    kld = terms.masked_fill(p == float("-inf"), 0.0).sum(-1)
    ours_top, reference_top = q.argmax(-1), p.argmax(-1)
    of_our_top = p.gather(-1, ours_top.unsqueeze(-1))
    columns = zip(
        tokens,
        q.gather(-1, followed).squeeze(-1).exp().tolist(),
        p.gather(-1, followed).squeeze(-1).exp().tolist(),
        ((ours_top == reference_top) & ~kld.isnan()).tolist(),
        ((p > of_our_top).sum(-1) + 1).tolist(),
        kld.clamp(min=0).tolist(),
        _likeliest(q, text_of),
        _likeliest(p, text_of),
        strict=False,
    )
    return tuple(TokenDifference(*column) for column in columns)


def _likeliest(scores: "torch.Tensor", text_of: Callable[[int], str]) -> list[tuple[Candidate, ...]]:
    """The `TOP` likeliest tokens at each position of log-probabilities `[positions, vocabulary]`."""
    best = scores.topk(min(TOP, scores.shape[-1]))
    rows = zip(best.indices.tolist(), best.values.exp().tolist(), strict=True)
    return [tuple(Candidate(i, text_of(i), p) for i, p in zip(*row, strict=True)) for row in rows]

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


def divergences(
    p: "torch.Tensor", q: "torch.Tensor", lost: "torch.Tensor | None" = None
) -> "tuple[torch.Tensor, torch.Tensor]":
    """KLD of q from p and of p from q `[tokens]`, in nats, of log-probabilities `[tokens, vocabulary]`; never negative.

    KLD is sum p * (ln p - ln q) (Kullback and Leibler 1951). With d = ln p - ln q, and since both sum to one, that is
    sum p * (d + exp(-d) - 1), whose every term is at least zero (the f-divergence of t ln t - t + 1: Csiszar 1967). The
    first form adds and subtracts terms of the size of d to find a sum of the size of d^2, and an error of one part in
    10^7 in what p sums to counts whole; in the second nothing cancels: in float32 a divergence of 10^-8 is right to
    some percent. A token to which p gives nothing adds what q gives it, which is what the sums to one need. `lost`
    `[tokens]` is by how much what p sums to exceeds what q does, where one of them has lost the tail of a wider
    vocabulary (`lost_tail`).

    Computed are the sum of both divergences, sum (p - q) * d, and their difference, sum (p + q) * (d - 2 tanh(d / 2)),
    whose terms are of the size of d^3. Neither cancels, and they take the least passes over the vocabulary.
    """
    import torch

    d, of_p, of_q = p - q, p.exp(), q.exp()
    moved = of_p - of_q
    both = torch.linalg.vecdot(moved, d)
    # Their sum tells of any value that is not finite.
    if bool(both.sum().isfinite()):
        half = torch.mul(d, 0.5, out=moved).tanh_()
        apart = torch.linalg.vecdot(of_p.add_(of_q), d.add_(half, alpha=-2))
        forward, reverse = ((both + apart) / 2).clamp(min=0), ((both - apart) / 2).clamp(min=0)
    else:
        forward, reverse = _one_by_one(p, q)
    if lost is not None:
        return (forward + lost).clamp(min=0), (reverse - lost).clamp(min=0)
    return forward, reverse


def lost_tail(p: "torch.Tensor", q: "torch.Tensor") -> "torch.Tensor | None":
    """By how much the sum of p exceeds that of q over the vocabulary that both have; None where they have the same one.

    `p` and `q` are the whole log-probabilities `[tokens, vocabulary]`. What lies beyond is summed: the difference of
    two sums of nearly one would be lost in the rounding of their float32, some 10^-7.
    """
    width = min(p.shape[-1], q.shape[-1])
    if p.shape[-1] == q.shape[-1]:
        return None
    return q[:, width:].exp().sum(-1) - p[:, width:].exp().sum(-1)


def _expm1(x: "torch.Tensor") -> "torch.Tensor":
    """exp(x) - 1 without cancellation, for x that is not large, by the hyperbolic tangent: on a CPU torch computes that
    in a third of the time of its own `expm1`."""
    half = (x / 2).tanh_()
    return 2 * half / (1 - half)


def _one_by_one(p: "torch.Tensor", q: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """The same where a probability is zero, or thousands of times the other."""
    import torch

    d = (p - q).masked_fill((p == q) & p.isinf(), 0.0)
    of_p, of_q = p.exp(), q.exp()
    forward = torch.where(d < -1, of_q - of_p + of_p * d, of_p * (_expm1(-d) + d))
    reverse = torch.where(d > 1, of_p - of_q - of_q * d, of_q * (_expm1(d) - d))
    forward = torch.where(p == float("-inf"), of_q, forward)
    reverse = torch.where(q == float("-inf"), of_p, reverse)
    return forward.sum(-1), reverse.sum(-1)


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

    `kld` is the first of `divergences`, p the reference. Of two vocabularies padded differently the smaller one
    counts. Where logits are not
    a number, `kld` and the probability are none either, and no token counts as the same. `text_of` names a token.
    """
    import torch

    width = min(ours.shape[-1], reference.shape[-1])
    q, p = ours[:, :width].double(), reference[:, :width].double()
    followed = torch.tensor(answer[: len(p)]).unsqueeze(-1)
    kld, _ = divergences(p, q, lost_tail(reference.double(), ours.double()))
    ours_top, reference_top = q.argmax(-1), p.argmax(-1)
    of_our_top = p.gather(-1, ours_top.unsqueeze(-1))
    columns = zip(
        tokens,
        q.gather(-1, followed).squeeze(-1).exp().tolist(),
        p.gather(-1, followed).squeeze(-1).exp().tolist(),
        ((ours_top == reference_top) & ~kld.isnan()).tolist(),
        ((p > of_our_top).sum(-1) + 1).tolist(),
        kld.tolist(),
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

"""Two variants at one task, item by item: two equal accuracies can hide many answers that changed."""

from dataclasses import replace
from math import comb

from quantlab.records import TaskScore


def against(ours: TaskScore, reference: TaskScore) -> TaskScore:
    """`ours` with its flips against the reference and McNemar's p-value. Raises ValueError for different items."""
    if not ours.correct or len(ours.correct) != len(reference.correct):
        raise ValueError(f"{len(ours.correct)} items cannot be paired with {len(reference.correct)}")
    pairs = list(zip(ours.correct, reference.correct, strict=True))
    lost = sum(theirs and not mine for mine, theirs in pairs)
    won = sum(mine and not theirs for mine, theirs in pairs)
    return replace(ours, flips_lost=lost / len(pairs), flips_won=won / len(pairs), mcnemar_p=mcnemar_p(lost, won))


def mcnemar_p(lost: int, won: int) -> float:
    """Two-sided exact p-value of McNemar's test (1947): of the items that changed, half would go either way by chance.

    2 * P(X <= min(lost, won)) with X binomial over lost + won trials of 1/2, at most 1.
    """
    changed = lost + won
    tail = sum(comb(changed, k) for k in range(min(lost, won) + 1))
    # Whole numbers to the last step: thousands of flips would underflow as floats.
    return min(1.0, 2 * tail / 2**changed)

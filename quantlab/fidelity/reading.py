"""Read a text with a loaded model, window by window: once as the reference, then with every other variant.

Memory is bounded by the logits of one window's scored half, whatever the text's length.
"""

from collections.abc import Iterator
from itertools import islice

import torch

from quantlab.fidelity.positions import BLOCK_ELEMENTS, BLOCK_TOKENS, Positions, compare, joined, log_probabilities
from quantlab.fidelity.reference import Rows, ScoreStore
from quantlab.fidelity.windows import Windows
from quantlab.records import Progress
from quantlab.runtime.session import LoadedModel


def read_reference(
    loaded: LoadedModel, windows: Windows, store: ScoreStore, key: str, progress: Progress
) -> tuple[Rows, Positions]:
    """Keep the model's log-probabilities under `key`; its positions are those of itself beside itself.

    Raises Unavailable where they do not fit on the disk, and whatever `progress` raises.
    """
    parts = []
    with store.writing(key, windows.scored, loaded.vocabulary_size) as writer:
        for logits, following in _blocks(loaded, windows, progress):
            scores = log_probabilities(logits)
            writer.append(scores)
            parts.append(compare(logits, scores, following))
    if (rows := store.find(key)) is None:
        raise RuntimeError(f"the reference's table vanished while it was written: {store.root}")
    return rows, joined(parts)


def read_variant(loaded: LoadedModel, windows: Windows, rows: Rows, progress: Progress) -> Positions:
    """The model's positions beside the reference's rows. Raises whatever `progress` raises."""
    parts, done = [], 0
    for logits, following in _blocks(loaded, windows, progress):
        reference = rows.block(done, len(logits)).to(logits.device)
        parts.append(compare(logits, reference, following))
        done += len(logits)
    return joined(parts)


def _blocks(loaded: LoadedModel, windows: Windows, progress: Progress) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits `[tokens, vocabulary]` and the ids `[tokens]` that follow, few enough at once to compare them."""
    following = iter(windows.following())
    done = 0
    for window in windows.ids:
        progress(done, windows.scored, "tokens")
        session = loaded.start(windows.size)
        for block in session.read(window, windows.first, BLOCK_TOKENS):
            for logits in block.split(max(1, BLOCK_ELEMENTS[block.device.type] // block.shape[-1])):
                yield logits, torch.tensor(list(islice(following, len(logits))), device=logits.device)
                done += len(logits)
    progress(done, windows.scored, "tokens")

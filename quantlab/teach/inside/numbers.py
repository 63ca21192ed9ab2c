"""Numbers that somebody typed, as a matrix of one row."""

import math
import re
from typing import TYPE_CHECKING

from quantlab.errors import BadInput

if TYPE_CHECKING:
    import torch

#: The numbers of the tutorial's example; see docs/measurement.md.
EXAMPLE = "-0.4251, 0.1872, -0.0031"
MOST, MOST_CHARACTERS = 4_096, 200_000
_BETWEEN = re.compile(r"[\s,;]+")
_HOW = "Type numbers with a point, and commas or spaces between them, such as -0.4251, 0.1872, -0.0031."


def typed(text: str) -> "torch.Tensor":
    """float32 `[1, numbers]`. Raises BadInput for none, for more than `MOST`, and for what is no finite number."""
    import torch

    if len(text) > MOST_CHARACTERS:
        raise BadInput(f"The numbers take more than {MOST_CHARACTERS:,} characters.", "Leave some out.")
    words = [word for word in _BETWEEN.split(text.replace("−", "-").strip()) if word]
    if not words:
        raise BadInput("No number was given.", _HOW)
    if len(words) > MOST:
        raise BadInput(f"{len(words):,} numbers were given, and at most {MOST:,} are taken.", "Leave some out.")
    values = torch.tensor([[_number(word) for word in words]], dtype=torch.float32)
    if not bool(values.isfinite().all()):
        raise BadInput("A number is larger than 32-bit floating point holds (3.4e38).", "Type smaller ones.")
    return values


def _number(word: str) -> float:
    try:
        found = float(word)
    except ValueError:
        raise BadInput(f"{word[:40]!r} is no number.", _HOW) from None
    if not math.isfinite(found):
        raise BadInput(f"{word} has no place among levels: only finite numbers have.", _HOW)
    return found

"""config.json of a folder as the tensors of its files have it: the one way to it, for us and for programs of others."""

from pathlib import Path
from typing import Any

from quantlab.models.folder import read_config, read_tensors
from quantlab.models.heads import may_be_tied, with_its_own_head
from quantlab.models.layouts import corrected, quantization


def held_config(folder: Path, name: str) -> dict[str, Any]:
    """Whether the head is the embeddings and how weights are quantized is told by the tensors: see `heads`, `layouts`.

    `name` is what the user called the model. Raises ModelError where the two contradict each other.
    """
    found = read_config(folder, name)
    tensors = read_tensors(folder, name) if may_be_tied(found) or quantization(found) else {}
    return corrected(with_its_own_head(found, folder, tensors), tensors)

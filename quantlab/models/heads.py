"""Whether a model's output head is its embeddings: what the files hold decides, where config.json says otherwise."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from quantlab.models.folder import INDEX, WEIGHTS, read_index
from quantlab.records import TensorInfo

_HEAD = "lm_head.weight"
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight")
#: Rows that are compared at once.
_ROWS = 4_096


def with_its_own_head(config: dict[str, Any], folder: Path, tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """The configuration, without tied embeddings where the files hold a head that is not the embeddings.

    Some fine-tuned models are published so. transformers keeps such a head, but other programs believe the setting and
    throw it away.
    """
    if not config.get("tie_word_embeddings") or _HEAD not in tensors:
        return config
    embeddings = next((name for name in tensors if name.endswith(_EMBEDDINGS)), None)
    if embeddings is None or tensors[embeddings].shape != tensors[_HEAD].shape:
        return config
    files = [_file_of(folder, name) for name in (_HEAD, embeddings)]
    state = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    return config if _same(state, _HEAD, embeddings) else config | {"tie_word_embeddings": False}


def _file_of(folder: Path, tensor: str) -> Path:
    whole = folder / WEIGHTS
    return (
        whole if whole.is_file() or not (folder / INDEX).is_file() else folder / read_index(folder, folder.name)[tensor]
    )


@lru_cache(maxsize=32)
def _same(state: tuple[tuple[str, int, int], ...], first: str, second: str) -> bool:
    """Whether two tensors hold the same values, a block of rows at a time. `state`: their files as they are now."""
    from safetensors import safe_open

    with safe_open(state[0][0], "pt") as one, safe_open(state[1][0], "pt") as other:
        ours, theirs = one.get_slice(first), other.get_slice(second)
        rows = ours.get_shape()[0]
        blocks = range(0, rows, _ROWS)
        return all(bool((ours[at : at + _ROWS] == theirs[at : at + _ROWS]).all()) for at in blocks)

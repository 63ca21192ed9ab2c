"""Whether a model's output head is its embeddings: what the files hold decides, where config.json says otherwise."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from quantlab.models.folder import INDEX, WEIGHTS, read_index
from quantlab.models.layouts import EMBEDDINGS, HEADS
from quantlab.records import TensorInfo

_FLAG, _PARTS = "tie_word_embeddings", ("text_config", "language_config", "llm_config", "decoder")
#: Rows that are compared at once.
_ROWS = 4_096


def with_its_own_head(config: dict[str, Any], folder: Path, tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """The configuration, without tied embeddings where the files hold a head that is not the embeddings.

    Some fine-tuned models are published so. transformers keeps such a head, but other programs believe the setting and
    throw it away. Where config.json says nothing, the kind of model decides, and for many that means tied.
    """
    head = next((name for name in tensors if name.endswith(HEADS)), None)
    embeddings = next((name for name in tensors if name.endswith(EMBEDDINGS)), None)
    if not may_be_tied(config) or head is None or embeddings is None:
        return config
    if tensors[embeddings].shape == tensors[head].shape:
        files = [_file_of(folder, name) for name in (head, embeddings)]
        state = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
        if _same(state, head, embeddings):
            return config
    parts = {key: config[key] | {_FLAG: False} for key in _PARTS if isinstance(config.get(key), dict)}
    return config | parts | {_FLAG: False}


def may_be_tied(config: Mapping[str, Any]) -> bool:
    """Whether a model's embeddings could be its head, as far as config.json says."""
    return config.get(_FLAG) is not False


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

"""The header of a GGUF file, with everything looked for that llama.cpp would answer by ending the process."""

from collections.abc import Iterable
from pathlib import Path

from quantlab.errors import ModelError
from quantlab.methods.gguf.types import TYPES
from quantlab.models.gguf.files import check
from quantlab.models.gguf.header import GgufHeader
from quantlab.records import TensorInfo

_DOWNLOAD_AGAIN = "Download or copy it again."
#: Stands for bytes that are no character: two tokens with it may differ in the file.
_UNREADABLE = "\ufffd"


def read_header(file: Path, name: str | None = None) -> GgufHeader:
    """Settings and tensors of a GGUF file, checked; `name` is what the user called it.

    Of a split model `file` is the first part, and its header that of all. Raises ModelError for what is missing,
    damaged or cut short.
    """
    header = check(file, name or file.name)
    if not header.metadata.get("tokenizer.ggml.tokens"):
        raise ModelError(f"{file.name} has no tokenizer.", "Take a file that was made with one.")
    wrong = _settings(header) or _tokens(header) or _tensors(header.tensors.items())
    if wrong:
        raise ModelError(f"{file.name} is damaged: {wrong}.", _DOWNLOAD_AGAIN)
    return header


def _settings(header: GgufHeader) -> str | None:
    """What llama.cpp divides by must be there and not be zero."""
    if not header.architecture:
        return "it does not say which architecture it has"
    for key in ("block_count", "embedding_length", "attention.head_count", "context_length"):
        value = header.about(key)
        values = value if isinstance(value, tuple) else (value,)
        if not values or not all(isinstance(it, int) and it >= 0 for it in values) or not max(values):
            return f"its setting {key} is {'missing' if value is None else value}"
    return None


def _tokens(header: GgufHeader) -> str | None:
    """llama.cpp asserts that every token is there once."""
    tokens = header.metadata["tokenizer.ggml.tokens"]
    named = [token for token in tokens if token and _UNREADABLE not in token]
    return None if len(set(named)) == len(named) else "two tokens of its vocabulary are the same"


def _tensors(tensors: Iterable[tuple[str, TensorInfo]]) -> str | None:
    bad = next((name for name, it in tensors if TYPES[it.dtype].quantized and len(it.shape) < 2), None)
    return f"{bad} has one dimension and is quantized" if bad else None

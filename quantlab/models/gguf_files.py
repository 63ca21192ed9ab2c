"""GGUF files as models: which one of several is meant, whether it is whole, and what its header tells."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from quantlab.errors import ModelError
from quantlab.models.folder import has_safetensors
from quantlab.models.gguf_header import GgufHeader, read_header
from quantlab.models.gguf_values import wrong
from quantlab.records import Checkpoint

SUFFIX = ".gguf"
STORED_AS = "gguf"
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
#: The names that config.json has for what a header says of the architecture.
_CONFIG_KEYS = {
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "sliding_window": "attention.sliding_window",
    "vocab_size": "vocab_size",
}


def listed(names: Sequence[str]) -> list[str]:
    """The GGUF files among `names`, in order, but those that lead out of their folder."""
    return sorted(name for name in names if name.lower().endswith(SUFFIX) and _is_plain(name))


def _is_plain(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


def meant(names: Sequence[str], pick: str | None, model: str) -> str | None:
    """The GGUF file among the files of a folder or repository that is meant; None where safetensors are.

    Where there are both, only a whole file name means a GGUF file: a label is the name of a precision too.
    """
    named = pick is not None and pick.lower().endswith(SUFFIX)
    if not listed(names) or (has_safetensors(names) and not named):
        return None
    return choose(names, pick, model)


def choose(names: Sequence[str], pick: str | None, model: str) -> str:
    """The one of several files that is meant: by its name, or by the label in it (q4_k_m); case does not matter.

    `pick` None means the only one. `model` is what the user called all of them. Raises ModelError with what there is.
    """
    files = listed(names)
    whole = [name for name in files if not _SPLIT.search(name)]
    found = _matching(files, pick) if pick else whole or files
    if len(found) > 1 and all(_SPLIT.search(name) for name in found):
        found = found[:1]
    if len(found) == 1:
        return _not_split(found[0], model)
    there = ", ".join(dict.fromkeys(whole or files))
    if not pick:
        raise ModelError(f"{model!r} holds several GGUF files: {there}.", f"Add ::NAME: {model}::{_short(whole[0])}.")
    if not found:
        raise ModelError(f"{model!r} has no GGUF file {pick!r}.", f"There is: {there}.")
    raise ModelError(f"{pick!r} fits several GGUF files of {model!r}: {', '.join(found)}.", "Give the whole name.")


def _matching(files: list[str], pick: str) -> list[str]:
    wanted = pick.lower()
    for exact in (str.lower, lambda name: name.lower().rpartition("/")[2]):
        found = [name for name in files if exact(name) in (wanted, wanted + SUFFIX)]
        if found:
            return found
    # A label ends where no letter, digit or underscore goes on, so that q4_k does not mean Q4_K_M.
    label = re.compile(rf"(?<![a-z0-9]){re.escape(wanted)}(?![a-z0-9_])", re.IGNORECASE)
    return [name for name in files if label.search(name.rpartition("/")[2])]


def _short(name: str) -> str:
    return name.rpartition("/")[2]


def _not_split(name: str, model: str) -> str:
    if found := _SPLIT.search(name):
        raise ModelError(
            f"{_short(name)} of {model!r} is one of {int(found[2])} files that a model was split into; only whole files"
            " are read.",
            "Join them with llama.cpp (llama-gguf-split --merge FIRST_PART WHOLE_FILE), or choose another.",
        )
    return name


def check(file: Path, name: str) -> GgufHeader:
    """The header of a file that can be loaded; `name` is what the user called the model. Raises ModelError."""
    if not file.is_file():
        raise ModelError(f"There is no file {name!r}.", "Check its name.")
    return check_header(read_header(file, name), file.name, name)


def check_header(header: GgufHeader, file_name: str, name: str) -> GgufHeader:
    """The same header. Raises ModelError where it is not that of a whole language model."""
    _not_split(file_name, name)
    whose = "" if _short(name) == file_name else f" of {name!r}"
    count = header.metadata.get("split.count", 0)
    if not isinstance(count, int):
        raise ModelError(
            f"The header of {file_name}{whose} is wrong: split.count is {count!r}, which is no number.",
            "Download or make the file again.",
        )
    if count > 1:
        raise ModelError(
            f"{file_name}{whose} is one part of a model that was split into several.",
            "Join them with llama.cpp: llama-gguf-split --merge FIRST_PART WHOLE_FILE.",
        )
    kind = header.metadata.get("general.type", "model")
    if kind != "model" or not header.architecture or not header.tensors:
        what = f"a GGUF file of type {kind}" if kind != "model" else "a GGUF file without a model"
        raise ModelError(f"{file_name}{whose} is {what}.", "Choose a file that holds a language model.")
    if (fault := wrong(header)) is not None:
        raise ModelError(f"The header of {file_name}{whose} is wrong: {fault}.", "Download or make the file again.")
    return header


def config(header: GgufHeader) -> dict[str, Any]:
    """What a header says of the architecture, under the names of config.json. `model_type` is llama.cpp's name."""
    told = {key: header.about(about) for key, about in _CONFIG_KEYS.items()}
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if told["vocab_size"] is None and tokens is not None:
        told["vocab_size"] = len(tokens)
    told["tie_word_embeddings"] = "output.weight" not in header.tensors
    return {"model_type": header.architecture} | {key: value for key, value in told.items() if value is not None}


def checkpoint(header: GgufHeader) -> Checkpoint:
    """What a header tells; the types of its tensors are ggml's."""
    return Checkpoint(config(header), header.tensors, sum(header.nbytes.values()), STORED_AS)

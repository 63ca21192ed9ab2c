"""GGUF files as models: which one of several is meant, whether it is whole, and what its header tells."""

import math
import re
import struct
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from quantlab.errors import ModelError
from quantlab.models.folder import has_safetensors
from quantlab.models.gguf.header import GgufHeader, read_header
from quantlab.models.gguf.values import wrong
from quantlab.records import Checkpoint, TensorInfo

SUFFIX = ".gguf"
STORED_AS = "gguf"
#: How llama.cpp's converter calls the half of a multimodal model that reads pictures.
_PROJECTOR = "mmproj"
#: Behind the name of a part: its number and how many there are, as llama.cpp's own tool names them.
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
#: Tensors that are no weights: they are computed from the settings.
_SETTINGS = ("rope_freqs.", "rope_factors_")
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
    """The GGUF files among `names`, in order, but those that lead out of their folder.

    Left out too are the halves of multimodal models that read pictures, where there is anything else.
    """
    files = sorted(name for name in names if name.lower().endswith(SUFFIX) and _is_plain(name))
    return [name for name in files if not _short(name).lower().startswith(_PROJECTOR)] or files


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

    Of a split model it is the first part. `pick` None means the only one. `model` is what the user called all of them.
    Raises ModelError with what there is.
    """
    files = listed(names)
    offered = list(dict.fromkeys(first_part(name) for name in files))
    found = list(dict.fromkeys(first_part(name) for name in (_matching(files, pick) if pick else files)))
    if len(found) == 1:
        return found[0]
    there = ", ".join(offered)
    if not pick:
        raise ModelError(f"{model!r} holds several GGUF files: {there}.", f"Add ::NAME: {model}::{_short(offered[0])}.")
    if not found:
        raise ModelError(f"{model!r} has no GGUF file {pick!r}.", f"There is: {there}.")
    raise ModelError(f"{pick!r} fits several GGUF files of {model!r}: {', '.join(found)}.", "Give the whole name.")


def check_pick(file: Path, pick: str, model: str) -> None:
    """Raises ModelError where one file was named and another one, or a precision, is picked of it."""
    if not _matching([file.name], pick):
        raise ModelError(f"{model!r} is one GGUF file and no {pick[:80]!r}.", "Leave out what stands behind ::.")


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


def first_part(name: str) -> str:
    """The first of the parts that a split file's name belongs to; the name of a whole file as it is."""
    return _SPLIT.sub(lambda found: f"-00001-of-{found[2]}{name[-len(SUFFIX) :]}", name)


def parts(first: str) -> tuple[str, ...]:
    """The names of all parts of a split file, by that of its first; a whole file is its only part."""
    if (found := _SPLIT.search(first)) is None:
        return (first,)
    stem, ending = first[: found.start()], first[-len(SUFFIX) :]
    return tuple(f"{stem}-{number:05}-of-{found[2]}{ending}" for number in range(1, int(found[2]) + 1))


def part_files(first: Path) -> tuple[Path, ...]:
    """The files of all parts, beside the first."""
    return tuple(first.with_name(name) for name in parts(first.name))


def check(file: Path, name: str) -> GgufHeader:
    """The header of a file that can be loaded; `name` is what the user called the model.

    That of a split model is put together from all of its parts, `file` being the first. Raises ModelError.
    """
    if not file.is_file():
        raise ModelError(f"There is no file {name!r}.", "Check its name.")
    files = part_files(file)
    if lacking := [part.name for part in files if not part.is_file()]:
        raise ModelError(
            f"{name!r} is split into {len(files)} files, and {_listed(lacking)} not there.",
            f"Download {'it' if len(lacking) == 1 else 'them'} too, and put all parts into one folder.",
        )
    return check_headers([read_header(part, name) for part in files], file.name, name)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{shown} {'is' if len(names) == 1 else 'are'}"


def check_headers(headers: Sequence[GgufHeader], file_name: str, name: str) -> GgufHeader:
    """The header of a model, of those of all its parts. Raises ModelError where it is not that of a whole language
    model, or where the parts do not belong together."""
    whose = "" if _short(name) == file_name else f" of {name!r}"
    for number, part in enumerate(headers):
        _check_part(part, number, len(headers), file_name, whose)
    header = headers[0] if len(headers) == 1 else _joined(headers, file_name, whose)
    kind = header.metadata.get("general.type", "model")
    if kind != "model" or not header.architecture or not header.tensors:
        what = f"a GGUF file of type {kind}" if kind != "model" else "a GGUF file without a model"
        raise ModelError(f"{file_name}{whose} is {what}.", "Choose a file that holds a language model.")
    if (fault := wrong(header)) is not None:
        raise ModelError(f"The header of {file_name}{whose} is wrong: {fault}.", "Download or make the file again.")
    return header


def _check_part(header: GgufHeader, number: int, count: int, file_name: str, whose: str) -> None:
    told = {key: header.metadata.get(key, default) for key, default in (("split.count", 0), ("split.no", 0))}
    for key, value in told.items():
        if not isinstance(value, int):
            raise ModelError(
                f"The header of {file_name}{whose} is wrong: {key} is {value!r}, which is no number.",
                "Download or make the file again.",
            )
    if count == 1 and told["split.count"] > 1:
        raise ModelError(
            f"{file_name}{whose} is one part of a model that was split into {told['split.count']}, and its name does "
            "not say so.",
            f"Give the parts the names that they were made with: NAME-00001-of-{told['split.count']:05}.gguf ....",
        )
    if count > 1 and (told["split.count"] != count or told["split.no"] != number):
        raise ModelError(
            f"Part {number + 1} of {file_name}{whose} says that it is part {told['split.no'] + 1} of "
            f"{told['split.count']}, and its name says {count} parts.",
            "Download the parts again, or give them the names that they were made with.",
        )


def _joined(headers: Sequence[GgufHeader], file_name: str, whose: str) -> GgufHeader:
    """One header for all parts. Raises ModelError where a part is of another model."""
    total = headers[0].metadata.get("split.tensors.count")
    tensors: dict[str, TensorInfo] = {}
    offsets: dict[str, int] = {}
    nbytes: dict[str, int] = {}
    for number, part in enumerate(headers, 1):
        alien = part.metadata.get("split.tensors.count") != total
        alien = alien or part.architecture not in ("", headers[0].architecture)
        if alien or not tensors.keys().isdisjoint(part.tensors):
            raise ModelError(
                f"Part {number} of {file_name}{whose} belongs to another model than the first.",
                "Download the parts again: all must be of one model.",
            )
        tensors |= part.tensors
        offsets |= part.offsets
        nbytes |= part.nbytes
    if isinstance(total, int) and total != len(tensors):
        raise ModelError(
            f"The {len(headers)} parts of {file_name}{whose} hold {len(tensors)} tensors, and the first says {total}.",
            "Download the parts again: all must be of one model.",
        )
    metadata = {key: value for key, value in headers[0].metadata.items() if not key.startswith("split.")}
    return GgufHeader(metadata, tensors, offsets, nbytes)


def is_setting(tensor: str) -> bool:
    """Whether a tensor, by its name, holds settings and no weights."""
    return tensor.startswith(_SETTINGS)


def floats(file: Path, tensor: str, name: str) -> tuple[float, ...] | None:
    """The values of a small tensor in float32, of whichever part holds it; None where none does. Raises ModelError."""
    for part in part_files(file):
        header = read_header(part, name)
        if (info := header.tensors.get(tensor)) is None or info.dtype != "F32":
            continue
        with part.open("rb") as opened:
            opened.seek(header.offsets[tensor])
            return struct.unpack(f"<{math.prod(info.shape)}f", opened.read(header.nbytes[tensor]))
    return None


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

"""What the tensors of a GGUF file take, part by part, and what is to be said of them."""

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from quantlab.methods.gguf.tensor_types import fell_back
from quantlab.methods.gguf.types import FILE_TYPES, TYPES, counted, overhead_bytes, tensor_bytes
from quantlab.models.gguf.header import GgufHeader
from quantlab.records import PARTS, TensorInfo
from quantlab.runtime.session import Storage

#: Tensors that are computed from the settings: they take bytes but are no weights.
_NO_WEIGHTS = ("rope_freqs", "rope_factors_long", "rope_factors_short")

EMBEDDINGS = "token_embd.weight"


def part_of(name: str) -> str:
    """The part (see `records.PARTS`) that a tensor belongs to, by llama.cpp's names."""
    stem = name.rpartition(".")[0]
    module = stem.rpartition(".")[2]
    if module.endswith("norm"):
        return "norms"
    if module in ("token_embd", "position_embd", "token_types"):
        return "embeddings"
    if module == "output":
        return "output_head"
    if module.startswith("attn_"):
        return "attention"
    return "mlp" if module.startswith("ffn_") else "other"


def parts_of(tensors: Mapping[str, TensorInfo]) -> Mapping[str, int]:
    """Bytes of a file's tensors by part; scales and minima of quantized ones under `quantization`."""
    parts = dict.fromkeys(PARTS, 0)
    for name, info in tensors.items():
        overhead = overhead_bytes(info)
        parts[part_of(name)] += tensor_bytes(info) - overhead
        parts["quantization"] += overhead
    return parts


def storage(header: GgufHeader, copied: Collection[str] = ()) -> Storage:
    """Exact bytes of the file's tensors.

    All but the `copied` ones are used where the file is mapped into memory. Embeddings are: rows are looked up in them.
    """
    parts = parts_of(header.tensors)
    weights = quantized_weights = quantized_bytes = mapped = 0
    for name, info in header.tensors.items():
        total, count = tensor_bytes(info), math.prod(info.shape)
        weights += 0 if name.split(".")[-2] in _NO_WEIGHTS else count
        mapped += total if name not in copied or name == EMBEDDINGS else 0
        if TYPES[info.dtype].quantized:
            quantized_weights += count
            quantized_bytes += total
    return Storage(sum(parts.values()), parts, weights, quantized_weights, quantized_bytes, mapped)


def file_type(header: GgufHeader) -> str | None:
    """What the publisher says the file was quantized to."""
    number: Any = header.metadata.get("general.file_type")
    return FILE_TYPES.get(number)


def quantized_as(header: GgufHeader) -> str | None:
    """What the weights of a file were quantized to, in its own words or by their types; None where they were not."""
    matrices = [info for info in header.tensors.values() if len(info.shape) > 1]
    if not any(TYPES[info.dtype].quantized for info in matrices):
        return None
    return file_type(header) or counted(info.dtype for info in matrices)


def details(file: Path, header: GgufHeader) -> Mapping[str, str]:
    """What a column shows of a file: its name, the types really stored, who quantized it how."""
    told = {
        "file": file.name,
        "file type": file_type(header) or "not told",
        "tensor types": counted(info.dtype for info in header.tensors.values()),
        "architecture": header.architecture,
    }
    imatrix = {key.rpartition(".")[2]: it for key, it in header.metadata.items() if key.startswith("quantize.imatrix.")}
    if imatrix:
        told["importance matrix"] = ", ".join(f"{key} {value}" for key, value in sorted(imatrix.items()))
    if "general.quantization_version" in header.metadata:
        told["quantization version"] = str(header.metadata["general.quantization_version"])
    return told


def notes(header: GgufHeader) -> tuple[str, ...]:
    """What a user should know of a file: types that are not what its label says, a context that was cut."""
    found = []
    if fallen := fell_back(file_type(header), header.tensors):
        matrices = sum(len(info.shape) > 1 for info in header.tensors.values())
        what = f"{len(fallen)} of {matrices} matrices have rows that are no multiple of 256"
        found.append(f"{what}, which {file_type(header)} needs; llama.cpp stored them as {counted(fallen)}")
    window = header.about("attention.sliding_window")
    if window and window == header.about("context_length"):
        found.append(
            f"some layers see no more than {window} tokens, which llama.cpp leaves out for this architecture: "
            "its context ends there"
        )
    return tuple(found)


def compute_dtype(header: GgufHeader) -> str:
    """In what llama.cpp multiplies: it brings activations into the form that fits the type of most weights."""
    held: dict[str, int] = {}
    for info in header.tensors.values():
        if len(info.shape) > 1:
            held[info.dtype] = held.get(info.dtype, 0) + math.prod(info.shape)
    most = max(held, key=held.__getitem__)
    if most == "F32":
        return "float32"
    named = {"F16": "float16", "BF16": "bfloat16"}.get(most, "8-bit integer")
    return f"{named} activations, float32 sums"

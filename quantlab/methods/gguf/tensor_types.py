"""Which type llama.cpp gives each tensor of a file type: K-quant files mix several.

The rules are those of `llama_tensor_get_type_impl` and `tensor_type_fallback` (llama.cpp, src/llama-quant.cpp, as in
llama-cpp-python 0.3.36) for models without experts. They serve the estimate before anything is written; what a file
really holds is read from the file.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from quantlab.methods.gguf.types import TYPES
from quantlab.records import TensorInfo

#: What most matrices of a file type get.
BASE = {
    "F16": "F16",
    "Q8_0": "Q8_0",
    "Q6_K": "Q6_K",
    "Q5_K_M": "Q5_K",
    "Q4_K_M": "Q4_K",
    "Q4_0": "Q4_0",
    "Q3_K_M": "Q3_K",
    "Q2_K": "Q2_K",
    "IQ3_XXS": "IQ3_XXS",
    "IQ2_XXS": "IQ2_XXS",
}
#: Types with blocks of 256 weights, and the one with blocks of 32 that stands in where a row is no multiple of 256.
FALLBACK = {
    **dict.fromkeys(("IQ2_XXS", "IQ2_S", "IQ3_XXS", "IQ3_S"), "IQ4_NL"),
    **dict.fromkeys(("Q2_K", "Q3_K"), "Q4_0"),
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}
_LAYER = re.compile(r"blk\.(\d+)\.(\w+)\.weight")


@dataclass(frozen=True)
class Sizes:
    """What the rules ask of a model."""

    layers: int
    heads: int
    key_value_heads: int
    tied: bool
    #: llama.cpp takes 80 layers with grouped keys for the 70B models, whose small value matrices get more bits.
    seventy: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seventy", self.layers == 80 and self.heads != self.key_value_heads)

    @property
    def grouped(self) -> bool:
        return self.heads // self.key_value_heads >= 4


def predict(file_type: str, tensors: Mapping[str, TensorInfo], sizes: Sizes) -> dict[str, TensorInfo]:
    """The tensors of a file of `file_type` made of an un-quantized one with `tensors` (GGUF names, shapes, types)."""
    return {name: TensorInfo(info.shape, _type(file_type, name, info, sizes)) for name, info in tensors.items()}


def _type(file_type: str, name: str, info: TensorInfo, sizes: Sizes) -> str:
    if len(info.shape) < 2 or not name.endswith(".weight") or name.endswith("_norm.weight"):
        return info.dtype
    base = BASE[file_type]
    if not TYPES[base].quantized:
        return base
    columns = info.shape[-1]
    if name == "output.weight" or (name == "token_embd.weight" and sizes.tied):
        wanted = _output(file_type, columns)
    elif name == "token_embd.weight":
        wanted = {"IQ2_XXS": "Q2_K", "IQ3_XXS": "IQ3_S"}.get(file_type, base)
    else:
        layer = _layer(name)
        wanted = _of_layer(file_type, *layer, sizes) if layer else base
    return fallback(wanted, columns)


@lru_cache(maxsize=1 << 14)  # each file type of a list asks of every tensor
def _layer(name: str) -> tuple[str, int] | None:
    """What a matrix of a layer is, and of which one."""
    found = _LAYER.fullmatch(name)
    return (found[2], int(found[1])) if found else None


def fallback(wanted: str, columns: int) -> str:
    """`wanted`, or what stands in for it where rows of `columns` weights are no whole blocks."""
    if columns % TYPES[wanted].block == 0:
        return wanted
    smaller = FALLBACK.get(wanted, wanted)
    return smaller if columns % TYPES[smaller].block == 0 else "F16"


def _output(file_type: str, columns: int) -> str:
    base = BASE[file_type]
    if base == "Q8_0" or columns % TYPES[base].block:
        return "Q8_0"
    return "Q5_K" if file_type.startswith("IQ") else "Q6_K"


def _of_layer(file_type: str, part: str, layer: int, sizes: Sizes) -> str:
    base = BASE[file_type]
    if part == "attn_v":
        wanted = _value(file_type, layer, sizes)
        return "Q5_K" if sizes.seventy and file_type != "IQ2_XXS" and wanted in ("Q3_K", "Q4_K") else wanted
    if part in ("attn_q", "attn_k"):
        return "IQ2_S" if file_type == "IQ3_XXS" else base
    if part == "attn_output":
        return {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "IQ3_XXS": "IQ3_S"}.get(file_type, base)
    if part == "ffn_down":
        return _down(file_type, layer, sizes.layers)
    return base


def _value(file_type: str, layer: int, sizes: Sizes) -> str:
    if file_type == "Q3_K_M":
        return "Q5_K" if layer < 2 else "Q4_K"
    if file_type in ("Q4_K_M", "Q5_K_M"):
        return "Q6_K" if _more_bits(layer, sizes.layers) else BASE[file_type]
    if file_type in ("Q2_K", "IQ3_XXS", "IQ2_XXS"):
        return "Q4_K" if sizes.grouped else {"Q2_K": "Q3_K", "IQ2_XXS": "Q2_K"}.get(file_type, "IQ3_XXS")
    return BASE[file_type]


def _down(file_type: str, layer: int, layers: int) -> str:
    if file_type == "Q2_K":
        return "Q3_K"
    if file_type == "Q3_K_M":
        return "Q5_K" if layer < layers // 16 else "Q4_K"
    if file_type in ("Q4_K_M", "Q5_K_M"):
        return "Q6_K" if _more_bits(layer, layers) else BASE[file_type]
    if file_type == "IQ2_XXS":
        return "Q2_K" if layer < layers // 8 else "IQ2_XXS"
    return BASE[file_type]


def _more_bits(layer: int, layers: int) -> bool:
    """The first and the last eighth of the layers, and every third between them."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def fell_back(file_type: str | None, tensors: Mapping[str, TensorInfo]) -> list[str]:
    """The types of the matrices of a file that could not have the one meant, for want of rows in multiples of 256."""
    if file_type is None or not ("_K" in file_type or file_type.startswith("IQ")) or file_type == "IQ4_NL":
        return []
    return [
        info.dtype
        for name, info in tensors.items()
        if len(info.shape) > 1 and info.shape[-1] % 256 and not name.endswith("_norm.weight") and math.prod(info.shape)
    ]

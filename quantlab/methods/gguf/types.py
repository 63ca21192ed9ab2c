"""The tensor types of ggml: how many weights share a block, and what a block takes."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from quantlab.models.gguf.header import BLOCKS
from quantlab.records import TensorInfo

#: Bytes of a block that are no codes: scales, minima and exponents (the structures of ggml's `ggml-common.h`).
_OVERHEAD = {
    **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0", "IQ4_NL", "TQ1_0", "TQ2_0", "Q1_0"), 2),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q8_1", "NVFP4"), 4),
    **dict.fromkeys(("IQ1_S", "IQ2_XXS", "IQ3_XXS", "IQ3_S"), 6),
    **dict.fromkeys(("IQ2_XS", "IQ2_S"), 10),
    **dict.fromkeys(("IQ4_XS", "IQ1_M"), 8),
    **dict.fromkeys(("Q4_K", "Q5_K"), 16),
    "MXFP4": 1,
    "Q2_K": 20,
    "Q3_K": 14,
    "Q6_K": 18,
    "Q8_K": 36,
}


@dataclass(frozen=True)
class GgmlType:
    """One tensor type. `block` weights take `nbytes` bytes, `overhead` of them for scales and minima."""

    name: str
    block: int
    nbytes: int
    overhead: int

    @property
    def bits(self) -> float:
        """Bits of one weight, scales included."""
        return 8 * self.nbytes / self.block

    @property
    def quantized(self) -> bool:
        return self.block > 1


TYPES: Mapping[str, GgmlType] = MappingProxyType(
    {name: GgmlType(name, block, nbytes, _OVERHEAD.get(name, 0)) for name, (block, nbytes) in BLOCKS.items()}
)

#: `general.file_type` of a file: what its publisher quantized to (`llama_ftype` of llama.h).
FILE_TYPES: Mapping[int, str] = MappingProxyType(
    {
        **dict(enumerate(("F32", "F16", "Q4_0", "Q4_1"))),
        **dict(enumerate(("Q8_0", "Q5_0", "Q5_1", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M"), start=7)),
        **dict(enumerate(("Q5_K_S", "Q5_K_M", "Q6_K", "IQ2_XXS", "IQ2_XS", "Q2_K_S", "IQ3_XS", "IQ3_XXS"), start=16)),
        **dict(enumerate(("IQ1_S", "IQ4_NL", "IQ3_S", "IQ3_M", "IQ2_S", "IQ2_M", "IQ4_XS", "IQ1_M", "BF16"), start=24)),
        **dict(enumerate(("TQ1_0", "TQ2_0", "MXFP4", "NVFP4", "Q1_0"), start=36)),
    }
)
FILE_TYPE_NUMBERS: Mapping[str, int] = MappingProxyType({name: number for number, name in FILE_TYPES.items()})


def tensor_bytes(info: TensorInfo) -> int:
    """Bytes of a tensor whose `dtype` is a ggml type's name. Its rows must be whole blocks."""
    kind = TYPES[info.dtype]
    return math.prod(info.shape) // kind.block * kind.nbytes


def overhead_bytes(info: TensorInfo) -> int:
    """Those of them that hold scales and minima."""
    kind = TYPES[info.dtype]
    return math.prod(info.shape) // kind.block * kind.overhead


def counted(names: Iterable[str]) -> str:
    """`Q4_K 12, Q6_K 4`: how often each name occurs, the most frequent first."""
    names = list(names)
    return ", ".join(
        f"{name} {names.count(name)}" for name in sorted(set(names), key=lambda it: (-names.count(it), it))
    )

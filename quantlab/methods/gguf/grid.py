"""What llama.cpp makes of a matrix, laid open (see `methods.rounded`).

llama.cpp quantizes the rows (`ggml_quantize_chunk`, which its own quantizer of files calls too), and the package `gguf`
reads them back. Codes and scales are read with it as well: a copy of the blocks whose scales are one gives the codes,
and one whose codes are all the same gives what that code stands for.
"""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from quantlab.errors import BadInput, ModelError
from quantlab.methods.gguf import architecture as architectures
from quantlab.methods.gguf.tensor_types import BASE, fallback, predict
from quantlab.methods.gguf.types import TYPES
from quantlab.methods.rounded import Matrix, Rounded, groups_of, integers

_ONE = (0x00, 0x3C)  # 1 as a float16, little endian


@dataclass(frozen=True)
class Places:
    """Where in a block of one type its parts lie (the structures of ggml's `ggml-common.h`).

    `codes`: (first byte, bytes, bits) of each plane, the lowest bits first; `lowest`: the lowest code.
    `group`: weights that share a scale. `ones`: bytes that make every scale one, from a place on. `minima`: where the
    float16 lies that scales the minima, None without. `signed`: codes are in two's complement.
    """

    codes: tuple[tuple[int, int, int], ...]
    lowest: int
    group: int
    ones: tuple[tuple[int, tuple[int, ...]], ...]
    minima: int | None = None
    signed: bool = False

    def stored(self, code: int) -> int:
        """The bits of a code: of its distance from the lowest, or in two's complement."""
        return code if self.signed else code - self.lowest


#: Sub-scales of Q4_K and Q5_K: eight of 6 bits are one, eight minima zero.
_SIX_BITS = (1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1)
PLACES: Mapping[str, Places] = {
    "Q8_0": Places(((2, 32, 8),), -128, 32, ((0, _ONE),), signed=True),
    "Q4_0": Places(((2, 16, 4),), -8, 32, ((0, _ONE),)),
    "Q4_1": Places(((4, 16, 4),), 0, 32, ((0, _ONE),), 2),
    "Q5_0": Places(((6, 16, 4), (2, 4, 1)), -16, 32, ((0, _ONE),)),
    "Q5_1": Places(((8, 16, 4), (4, 4, 1)), 0, 32, ((0, _ONE),), 2),
    "Q2_K": Places(((16, 64, 2),), 0, 16, ((0, 16 * (1,)), (80, _ONE)), 82),
    "Q3_K": Places(((32, 64, 2), (0, 32, 1)), -4, 16, ((96, 8 * (0x11,) + 4 * (0xAA,)), (108, _ONE))),
    "Q4_K": Places(((16, 128, 4),), 0, 32, ((4, _SIX_BITS), (0, _ONE)), 2),
    "Q5_K": Places(((48, 128, 4), (16, 32, 1)), 0, 32, ((4, _SIX_BITS), (0, _ONE)), 2),
    "Q6_K": Places(((0, 128, 4), (128, 64, 2)), -32, 16, ((192, 16 * (1,)), (208, _ONE))),
}


def grid(matrix: Matrix, file_type: str) -> Rounded:
    """Rows in the type that a file of `file_type` gives this matrix; without a layer's name, the type of most.

    Raises BadInput where the rows are no whole blocks and nothing stands in.
    """
    rows, columns = matrix.shape
    kind, caution = _type(matrix, file_type)
    weight = matrix.asked.contiguous().float()
    blocks = _quantized(weight, kind)
    return laid_open(blocks, kind, columns, rows, caution)


def laid_open(blocks: np.ndarray, kind: str, columns: int, rows: int, caution: str = "") -> Rounded:
    """Rows of blocks (uint8 `[rows, bytes]`) of one type; `rows` are those of the whole matrix."""
    places, shape = PLACES[kind], (len(blocks), columns)
    bits = sum(plane[2] for plane in places.codes)
    plain = _read(_scaled_by_one(blocks, kind), kind).reshape(shape)
    scale, minimum = _scales(blocks, kind)
    whole, size = rows * columns // TYPES[kind].block, TYPES[kind]
    named = "scales" if places.minima is None else "scales and minima"
    return Rounded(
        torch.from_numpy(plain.astype(np.int64)),
        torch.from_numpy(_read(blocks, kind).reshape(shape)),
        integers(places.lowest, places.lowest + 2**bits - 1),
        places.lowest,
        groups_of(len(blocks), columns, places.group),
        torch.from_numpy(scale),
        {"codes": whole * (size.nbytes - size.overhead), named: whole * size.overhead},
        minimum=None if minimum is None else torch.from_numpy(minimum),
        note=f"The tensor type {kind}: a scale for {places.group} numbers, in blocks of {size.block}.",
        caution=caution,
    )


def _type(matrix: Matrix, file_type: str) -> tuple[str, str]:
    """The tensor type, and what is to be said where it is another than the file's name says."""
    columns = matrix.shape[1]
    wanted = BASE.get(file_type, file_type)
    kind = _predicted(matrix, file_type) or fallback(wanted, columns)
    if kind not in PLACES:
        raise BadInput(
            f"Rows of {columns:,} numbers are no whole blocks of {TYPES[wanted].block}.", "Choose another method."
        )
    if columns % TYPES[wanted].block:
        return kind, f"Rows of {columns:,} are no multiple of {TYPES[wanted].block}: {kind} stands in for {wanted}."
    return kind, "" if kind == wanted else f"A file of the type {file_type} gives this layer {kind}."


def _predicted(matrix: Matrix, file_type: str) -> str | None:
    """What llama.cpp gives this layer in a file of that type; None where that is not known."""
    checkpoint = matrix.checkpoint
    if checkpoint is None or file_type not in BASE or architectures.lacking(checkpoint.config):
        return None
    try:
        planned = architectures.plan(checkpoint.config, checkpoint.tensors)
    except ModelError:
        return None
    infos = {name: it.info for name, it in planned.items()}
    target = next((name for name, it in planned.items() if it.source == matrix.name), None)
    if target is None:
        return None
    return predict(file_type, {target: infos[target]}, architectures.sizes(checkpoint.config, planned))[target].dtype


def _quantized(weight: torch.Tensor, kind: str) -> np.ndarray:
    """Blocks uint8 `[rows, bytes]` of float32 rows, which must be finite and whole blocks."""
    import gguf
    from llama_cpp._ggml import libggml

    quantize = libggml.ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    quantize.argtypes = [ctypes.c_int, pointer, pointer, size, size, size, pointer]
    rows, columns = weight.shape
    made = np.zeros((rows, columns // TYPES[kind].block * TYPES[kind].nbytes), dtype=np.uint8)
    number = int(gguf.GGMLQuantizationType[kind])
    quantize(number, weight.data_ptr(), made.ctypes.data, 0, rows, columns, None)
    return made


def _read(blocks: np.ndarray, kind: str) -> np.ndarray:
    import gguf

    return gguf.dequantize(np.ascontiguousarray(blocks), gguf.GGMLQuantizationType[kind]).astype(np.float32)


def _by_block(blocks: np.ndarray, kind: str) -> np.ndarray:
    return blocks.reshape(len(blocks), -1, TYPES[kind].nbytes).copy()


def _scaled_by_one(blocks: np.ndarray, kind: str) -> np.ndarray:
    """The same codes with all scales one and no minima: read, they give the codes."""
    made, places = _by_block(blocks, kind), PLACES[kind]
    for start, values in places.ones:
        made[..., start : start + len(values)] = values
    if places.minima is not None:
        made[..., places.minima : places.minima + 2] = 0
    return made.reshape(len(blocks), -1)


def _scales(blocks: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Scale and minimum of each group, float32 `[groups]`: read where all codes are one, and where all are zero."""
    places = PLACES[kind]
    ones, zeros = _by_block(blocks, kind), _by_block(blocks, kind)
    for made, code in ((ones, places.stored(1)), (zeros, places.stored(0))):
        for start, count, bits in places.codes:
            made[..., start : start + count] = _repeated(code & (2**bits - 1), bits)
            code >>= bits
    if places.minima is not None:
        ones[..., places.minima : places.minima + 2] = 0
    first = slice(None, None, places.group)
    scale = _read(ones.reshape(len(blocks), -1), kind).reshape(-1)[first]
    if places.minima is None:
        return scale, None
    return scale, _read(zeros.reshape(len(blocks), -1), kind).reshape(-1)[first]


def _repeated(code: int, bits: int) -> int:
    """A byte in which each place of `bits` bits holds the code."""
    return sum(code << shift for shift in range(0, 8, bits))

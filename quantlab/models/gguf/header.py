"""What stands in front of the weights of a GGUF file: metadata and the table of tensors, read with plain Python.

llama.cpp trusts a file's counts and ends the process where they lie, so nothing is given to it that was not read here
first. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from quantlab.errors import ModelError
from quantlab.models.folder import DOWNLOAD_AGAIN
from quantlab.records import TensorInfo

MAGIC = b"GGUF"
#: 2 and 3 differ in nothing but that 3 may be big-endian.
VERSIONS = (2, 3)
#: Vocabularies of 256,000 tokens take some 10 MB; a corrupt length must not make us read gigabytes.
MAX_HEADER_BYTES = 200_000_000
MAX_TENSORS, MAX_KEYS, MAX_DIMENSIONS, MAX_NESTING = 100_000, 100_000, 4, 3
_ALIGNMENT = 32

#: Numbers that ggml gave out once and reads no more; the later ones were layouts for one kind of processor each.
_REMOVED = MappingProxyType(
    {
        4: "Q4_2",
        5: "Q4_3",
        31: "Q4_0_4_4",
        32: "Q4_0_4_8",
        33: "Q4_0_8_8",
        36: "IQ4_NL_4_4",
        37: "IQ4_NL_4_8",
        38: "IQ4_NL_8_8",
    }
)
#: ggml's types by number: name, weights in a block, bytes of a block.
_TYPES = MappingProxyType(
    {
        0: ("F32", 1, 4),
        1: ("F16", 1, 2),
        2: ("Q4_0", 32, 18),
        3: ("Q4_1", 32, 20),
        6: ("Q5_0", 32, 22),
        7: ("Q5_1", 32, 24),
        8: ("Q8_0", 32, 34),
        9: ("Q8_1", 32, 40),
        10: ("Q2_K", 256, 84),
        11: ("Q3_K", 256, 110),
        12: ("Q4_K", 256, 144),
        13: ("Q5_K", 256, 176),
        14: ("Q6_K", 256, 210),
        15: ("Q8_K", 256, 292),
        16: ("IQ2_XXS", 256, 66),
        17: ("IQ2_XS", 256, 74),
        18: ("IQ3_XXS", 256, 98),
        19: ("IQ1_S", 256, 50),
        20: ("IQ4_NL", 32, 18),
        21: ("IQ3_S", 256, 110),
        22: ("IQ2_S", 256, 82),
        23: ("IQ4_XS", 256, 136),
        24: ("I8", 1, 1),
        25: ("I16", 1, 2),
        26: ("I32", 1, 4),
        27: ("I64", 1, 8),
        28: ("F64", 1, 8),
        29: ("IQ1_M", 256, 56),
        30: ("BF16", 1, 2),
        34: ("TQ1_0", 256, 54),
        35: ("TQ2_0", 256, 66),
        39: ("MXFP4", 32, 17),
        40: ("NVFP4", 64, 36),
        41: ("Q1_0", 128, 18),
    }
)
#: Weights and bytes of one block, by the name of a ggml type.
BLOCKS: Mapping[str, tuple[int, int]] = MappingProxyType({name: (n, size) for name, n, size in _TYPES.values()})

_STRING, _ARRAY = 8, 9
#: Scalar values by number: their format for `struct`.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True)
class GgufHeader:
    """`tensors` have torch's order of dimensions (rows first) and ggml's name of their type.

    `offsets` count from the beginning of the file; `nbytes` are those of one tensor, without padding.
    """

    metadata: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    offsets: Mapping[str, int]
    nbytes: Mapping[str, int]

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture; '' where the file does not say."""
        return str(self.metadata.get("general.architecture", ""))

    def about(self, key: str) -> Any:
        """A value that the architecture names for itself ("context_length"), or None."""
        return self.metadata.get(f"{self.architecture}.{key}")


class _RemovedType(Exception):
    """A tensor's type that no program reads any more."""


class _CutShort(Exception):
    """The file ends within its header."""


class Readable(Protocol):
    """A stream of bytes that is read from its beginning."""

    def read(self, count: int, /) -> bytes: ...


class _Reader:
    """Little-endian values from a stream, never beyond the file's size or the limit of a header."""

    def __init__(self, stream: Readable, size: int) -> None:
        self._stream, self._size = stream, size
        self.position = 0

    def bytes(self, count: int) -> bytes:
        if self.position + count > self._size:
            raise _CutShort
        if self.position + count > MAX_HEADER_BYTES:
            raise ValueError("the header is too long")
        found = self._stream.read(count)
        if len(found) != count:
            raise _CutShort
        self.position += count
        return found

    def number(self, kind: str) -> Any:
        return struct.unpack(f"<{kind}", self.bytes(struct.calcsize(f"<{kind}")))[0]

    def count(self, limit: int) -> int:
        found = self.number("Q")
        if found > limit:
            raise ValueError("an absurd count")
        return found

    def text(self, errors: str = "strict") -> str:
        return self.bytes(self.number("Q")).decode(errors=errors)

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:  # tokens need not be whole characters
            return self.text("replace")
        if kind != _ARRAY or depth == MAX_NESTING:
            raise ValueError("an unknown type of value")
        inner, length = self.number("I"), self.count(MAX_HEADER_BYTES)
        if inner in _SCALARS:
            packed = f"<{length}{_SCALARS[inner]}"
            return struct.unpack(packed, self.bytes(struct.calcsize(packed)))
        return tuple(self.value(inner, depth + 1) for _ in range(length))


def read_header(file: Path, name: str) -> GgufHeader:
    """The header of one file; `name` is what the user called it. Raises ModelError where it is damaged or cut short."""
    try:
        found = file.stat()
        return _read(str(file), name, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    except OSError as error:
        raise ModelError(f"{file.name} of {name!r} cannot be read ({error.strerror}).", "Check its rights.") from None


@lru_cache(maxsize=16)
def _read(file: str, name: str, size: int, *_state: int) -> GgufHeader:
    """Of one state of a file once: a vocabulary of 128,000 tokens takes 0.4 s, and is asked for at every step."""
    with open(file, "rb") as opened:
        return parse_header(opened, size, Path(file).name, name)


def parse_header(stream: Readable, size: int, file_name: str, name: str) -> GgufHeader:
    """The header at the beginning of `stream`, of a file of `size` bytes.

    Raises ModelError unless every tensor lies within the file, in order, where llama.cpp expects it.
    """
    refused = partial(_refusal, file_name, name)
    reader = _Reader(stream, size)
    try:
        if reader.bytes(4) != MAGIC:
            raise refused("is no GGUF file", "Give a file of llama.cpp's format GGUF.")
        version = reader.number("I")
        if version not in VERSIONS:
            big = version >> 16 and version & 0xFFFF == 0
            raise refused(
                "is for big-endian machines" if big else f"has GGUF version {version}, which is not read here",
                "Convert the model again with a newer llama.cpp.",
            )
        tensor_count, key_count = reader.count(MAX_TENSORS), reader.count(MAX_KEYS)
        metadata = {reader.text(): reader.value(reader.number("I")) for _ in range(key_count)}
        tensors, offsets, nbytes = _tensor_table(reader, tensor_count)
        start = _data_start(reader.position, metadata, offsets, nbytes)
    except _CutShort:
        raise refused("is cut short: the file ends before its header does", DOWNLOAD_AGAIN) from None
    except UnicodeDecodeError:
        raise refused("is damaged: a name in its header is no text", DOWNLOAD_AGAIN) from None
    except _RemovedType as removed:
        raise refused(
            f"holds tensors of the type {removed}, which llama.cpp has removed",
            "Take the Q4_0 file of this model (or IQ4_NL): llama.cpp lays it out in that way as it loads.",
        ) from None
    except (ValueError, struct.error, OverflowError, MemoryError) as error:
        raise refused(f"is damaged: its header cannot be read ({error})", DOWNLOAD_AGAIN) from None
    offsets = {tensor: start + offset for tensor, offset in offsets.items()}
    if any(offsets[tensor] + nbytes[tensor] > size for tensor in tensors):
        raise refused("is cut short: the file ends before its tensors do", DOWNLOAD_AGAIN)
    return GgufHeader(metadata, tensors, offsets, nbytes)


def _tensor_table(reader: _Reader, count: int) -> tuple[dict[str, TensorInfo], dict[str, int], dict[str, int]]:
    """Tensors, their offsets from the beginning of the data, and their bytes. Raises ValueError."""
    tensors: dict[str, TensorInfo] = {}
    offsets, nbytes = {}, {}
    for _ in range(count):
        name, dimensions = reader.text(), reader.number("I")
        if name in tensors:
            raise ValueError(f"{name} is listed twice")
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise ValueError(f"{name} has {dimensions} dimensions")
        shape = tuple(reader.number("Q") for _ in range(dimensions))
        number, offsets[name] = reader.number("I"), reader.number("Q")
        if number in _REMOVED:
            raise _RemovedType(_REMOVED[number])
        if number not in _TYPES:
            raise ValueError(f"{name} has the unknown type {number}")
        dtype, block, block_bytes = _TYPES[number]
        if not all(shape) or shape[0] % block:
            raise ValueError(f"{name} of type {dtype} cannot have rows of {shape[0]}")
        tensors[name] = TensorInfo(shape[::-1], dtype)
        nbytes[name] = math.prod(shape) // block * block_bytes
    return tensors, offsets, nbytes


def _data_start(position: int, metadata: dict[str, Any], offsets: dict[str, int], nbytes: dict[str, int]) -> int:
    """Where the tensors begin. Raises ValueError unless each follows the one before it, aligned."""
    alignment = metadata.get("general.alignment", _ALIGNMENT)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        raise ValueError("its alignment is no power of two")
    expected = 0
    for tensor, offset in offsets.items():
        if offset != expected:
            raise ValueError(f"{tensor} is not where it should be")
        expected += _aligned(nbytes[tensor], alignment)
    return _aligned(position, alignment)


def _aligned(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def _refusal(file_name: str, name: str, what: str, advice: str) -> ModelError:
    whose = "" if Path(name).name == file_name else f" of {name!r}"
    return ModelError(f"{file_name}{whose} {what}.", advice)

"""Small GGUF files, written by the `gguf` package."""

from pathlib import Path

import gguf
import numpy
from gguf.constants import GGMLQuantizationType as Type

VOCABULARY, WIDTH = 8, 256


def write(file: Path, *, kind: str | None = None, parts: int = 0, tokens: bool = True, tied: bool = True) -> bytes:
    """A file with the header of a Llama, one matrix in Q4_K and one in Q6_K. Returns its content."""
    random = numpy.random.default_rng(0)
    writer = gguf.GGUFWriter(file, "llama")
    if kind:
        writer.add_type(kind)
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(512)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    if parts:
        writer.add_uint16("split.count", parts)
    if tokens:
        writer.add_token_list(["<s>", "é", b"\xff", *(f"t{i}" for i in range(VOCABULARY - 3))])
        writer.add_token_scores([0.5] * VOCABULARY)
    _add(writer, "token_embd.weight", random.normal(size=(VOCABULARY, WIDTH)), Type.F16)
    _add(writer, "blk.0.ffn_up.weight", random.normal(size=(4, WIDTH)), Type.Q4_K)
    _add(writer, "blk.0.ffn_down.weight", random.normal(size=(6, WIDTH)), Type.Q6_K)
    _add(writer, "blk.0.attn_norm.weight", numpy.ones(3), Type.F32)
    if not tied:
        _add(writer, "output.weight", random.normal(size=(VOCABULARY, WIDTH)), Type.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file.read_bytes()


def _add(writer: gguf.GGUFWriter, name: str, values: numpy.ndarray, kind: Type) -> None:
    values = values.astype(numpy.float32)
    if kind in (Type.Q4_K, Type.Q6_K):  # the package cannot quantize to these; their bytes mean nothing here
        block, size = gguf.GGML_QUANT_SIZES[kind]
        packed = numpy.zeros((values.shape[0], values.shape[1] // block * size), numpy.uint8)
    else:
        packed = gguf.quants.quantize(values, kind)
    writer.add_tensor(name, packed, raw_dtype=kind)

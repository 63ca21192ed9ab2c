"""The types that tensors will get, told beforehand."""

import ctypes
import re
from dataclasses import replace
from pathlib import Path

import gguf
import numpy
import pytest
import torch

from quantlab import models
from quantlab.methods.gguf import GGUF, library, read_header
from quantlab.methods.gguf.quantize import _matrix
from quantlab.methods.gguf.tensor_types import Sizes, predict
from quantlab.methods.gguf.types import FILE_TYPE_NUMBERS
from quantlab.records import ResolvedPlacement
from quantlab.settings import AppSettings
from tests import tiny

CPU = ResolvedPlacement("cpu", "float32")


@pytest.mark.slow
@pytest.mark.parametrize("chosen", GGUF.precisions, ids=[it.name for it in GGUF.precisions])
@pytest.mark.parametrize("layers", [9, 16, 80])
def test_the_predicted_types_are_those_that_llama_cpp_would_choose(chosen, layers, tmp_path):
    """Its own dry run, on files of many layers with grouped keys, an output head and rows that fall back."""
    hidden, mlp = 256, 352
    tensors = {"token_embd.weight": (64, hidden), "output.weight": (64, hidden), "output_norm.weight": (hidden,)}
    for layer in range(layers):
        block = f"blk.{layer}."
        tensors |= {f"{block}attn_{it}.weight": (hidden, hidden) for it in ("q", "output")}
        tensors |= {f"{block}attn_{it}.weight": (hidden // 8, hidden) for it in ("k", "v")}
        tensors |= {f"{block}ffn_{it}.weight": (mlp, hidden) for it in ("gate", "up")}
        tensors |= {f"{block}ffn_down.weight": (hidden, mlp)}
        tensors |= {f"{block}{it}_norm.weight": (hidden,) for it in ("attn", "ffn")}
    infos = write_empty(tmp_path / "many.gguf", tensors, layers, heads=8, kept=1)
    expected = dry_run(tmp_path / "many.gguf", chosen.file_type, tmp_path / "never.gguf")
    predicted = predict(chosen.file_type, infos, Sizes(layers, 8, 1, tied=False))
    assert {name: it.dtype for name, it in predicted.items()} == expected


def write_empty(file: Path, shapes: dict[str, tuple[int, ...]], layers: int, heads: int, kept: int):
    """A Llama of zeros in float16."""
    writer = gguf.GGUFWriter(file, "llama")
    for key, value in {"context_length": 64, "embedding_length": 256, "block_count": layers}.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_feed_forward_length(352)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kept)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"t{number}" for number in range(64)])
    for name, shape in shapes.items():
        writer.add_tensor(name, numpy.zeros(shape, "float16" if len(shape) > 1 else "float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return read_header(file).tensors


def dry_run(source: Path, file_type: str, target: Path) -> dict[str, str]:
    """The type of each tensor that llama.cpp announces for a file type. An importance matrix changes some."""
    lines: list[str] = []
    lib = library.lib()
    params = lib.llama_model_quantize_default_params()
    params.dry_run, params.ftype = True, FILE_TYPE_NUMBERS[file_type]
    if file_type.startswith("IQ"):
        importance = {"blk.0.attn_q.weight": torch.ones(256)}
        params.imatrix = _matrix(importance)
    with library.listening(lines.append):
        assert lib.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)) == 0
    found = {}
    for told in re.split(r"(?=\[ *\d+/ *\d+\])", "".join(lines))[1:]:
        name = told.split("]")[1].split()[0]
        kind = re.search(r"type = +(\w+)", told)[1]
        found[name] = (re.search(r"-> .*\((\w+)\)", told) or [None, kind])[1].upper()
    return found


def test_the_estimate_of_a_shape_follows_the_same_rules():
    checkpoint = models.peek("shape:SmolLM2-135M", AppSettings())
    sizes = {chosen.name: GGUF.estimate(chosen, CPU, checkpoint) for chosen in GGUF.precisions}
    # 576 columns are no multiple of 256: the labels promise fewer bits than the rows can have.
    assert sizes["f16"] == pytest.approx(checkpoint.nbytes, rel=1e-3)
    assert 4.5 < 8 * sizes["q2_k"] / (checkpoint.nbytes / 2) < 6.5
    refused = replace(checkpoint, config=checkpoint.config | {"architectures": ["BloomForCausalLM"]})
    assert "BloomForCausalLM" in GGUF.refuses(GGUF.precisions[0], refused, "cpu")


def test_a_model_that_cannot_be_exported_has_an_estimate_too(tmp_path):
    checkpoint = models.checkpoint(tiny.write(tmp_path, "gpt2"))
    for chosen in GGUF.precisions:
        assert "GPT2LMHeadModel" in GGUF.refuses(chosen, checkpoint, "cpu")
        assert 0 < GGUF.estimate(chosen, CPU, checkpoint) < checkpoint.nbytes

"""A model of transformers written as an un-quantized GGUF file, nothing lost: every matrix in its own type.

Tensors are read and written one at a time, so that a model of any size needs the memory of its largest tensor.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from quantlab import models
from quantlab.methods.gguf import architecture as architectures
from quantlab.methods.gguf.types import FILE_TYPE_NUMBERS, tensor_bytes
from quantlab.methods.gguf.vocabulary import Vocabulary, vocabulary
from quantlab.models.reading import reader
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import Model, Progress

if TYPE_CHECKING:
    from gguf import GGUFWriter

_TORCH = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_NUMPY = {"F32": "float32", "F16": "float16", "BF16": "uint16"}


def export(model: Model, config: Mapping[str, Any], file: Path, progress: Progress) -> None:
    """Write `file`. `config` is the whole configuration, defaults included. Progress counts tensors.

    Raises ModelError for weights or a tokenizer that have no place in the format.
    """
    from gguf import GGMLQuantizationType, GGUFWriter

    planned = architectures.plan(config, models.tensors(model))
    writer = GGUFWriter(file, architectures.ARCHITECTURES[architectures.architecture(config)])
    matrices = [it.info.dtype for it in planned.values() if len(it.info.shape) > 1]
    writer.add_file_type(FILE_TYPE_NUMBERS[max(set(matrices), key=matrices.count)])
    writer.add_name(Path(model.name).name)
    _add_settings(writer, config)
    _add_vocabulary(writer, vocabulary(load_tokenizer(model), config["vocab_size"]))
    for target, tensor in planned.items():
        info = tensor.info
        kind = GGMLQuantizationType[info.dtype]
        writer.add_tensor_info(target, info.shape, np.dtype(_NUMPY[info.dtype]), tensor_bytes(info), raw_dtype=kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        dtypes = frozenset(it.dtype for it in models.tensors(model).values())
        with reader(model, dtypes) as read:
            for done, (target, tensor) in enumerate(planned.items()):
                progress(done, len(planned), f"export: {target}")
                values = _rope_factors(config) if tensor.source is None else read(tensor.source)
                values = _arranged(values, target, config).to(_TORCH[tensor.info.dtype]).contiguous()
                writer.write_tensor_data(_numpy(values))
        progress(len(planned), len(planned), "export")
    finally:
        writer.close()


def _numpy(values: torch.Tensor) -> np.ndarray:
    return (values.view(torch.uint16) if values.dtype == torch.bfloat16 else values).numpy()


def _arranged(values: torch.Tensor, target: str, config: Mapping[str, Any]) -> torch.Tensor:
    """llama.cpp's Llama rotates neighbouring pairs where transformers rotates halves: interleave each head's rows."""
    part = target.split(".")[-2]
    if part not in ("attn_q", "attn_k") or architectures.ARCHITECTURES[architectures.architecture(config)] != "llama":
        return values
    heads = config["num_attention_heads"] if part == "attn_q" else architectures.key_value_heads(config)
    halves = values.unflatten(0, (heads, 2, -1))
    return halves.transpose(1, 2).reshape(values.shape)


def _rope_factors(config: Mapping[str, Any]) -> torch.Tensor:
    """What each rotary frequency is divided by `[head_dim / 2]`, as Llama 3.1 stretches them for long texts.

    Formula: transformers, `_compute_llama3_parameters`.
    """
    rope, dim = architectures.rope_settings(config), architectures.head_dim(config)
    frequencies = rope["rope_theta"] ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
    turns = rope["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    smooth = ((turns - low) / (high - low)).clamp(0, 1)
    return 1 / ((1 - smooth) / factor + smooth)


def _add_settings(writer: "GGUFWriter", config: Mapping[str, Any]) -> None:
    from gguf import RopeScalingType

    head = architectures.head_dim(config)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(architectures.context_length(config))
    if window := architectures.window(config):
        writer.add_sliding_window(window)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(architectures.key_value_heads(config))
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(head)
    rope = architectures.rope_settings(config)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        original = rope.get("original_max_position_embeddings") or config["max_position_embeddings"]
        writer.add_rope_scaling_orig_ctx_len(original)


def _add_vocabulary(writer: "GGUFWriter", found: Vocabulary) -> None:
    writer.add_tokenizer_model(found.model)
    writer.add_tokenizer_pre(found.pre)
    writer.add_token_list(found.tokens)
    writer.add_token_types(found.types)
    if found.scores is not None:
        writer.add_token_scores(found.scores)
        writer.add_add_space_prefix(found.space_prefix)
        writer.add_remove_extra_whitespaces(False)
    if found.merges is not None:
        writer.add_token_merges(found.merges)
    for name, number in found.special.items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", number)
    writer.add_add_bos_token(found.adds_bos)
    writer.add_add_eos_token(found.adds_eos)
    if found.chat_template:
        writer.add_chat_template(found.chat_template)

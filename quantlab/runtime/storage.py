"""Count every byte a torch model keeps: parameters, buffers, and whatever quantization state hangs on them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from quantlab.records import PARTS
from quantlab.runtime.session import Storage

_PART_OF_NAME = (
    ("embeddings", re.compile(r"(^|\.)(embed\w*|wte|wpe|word_embeddings)($|\.)")),
    ("output_head", re.compile(r"(^|\.)(lm_head|embed_out|output_layer)($|\.)")),
    ("norms", re.compile(r"(norm\w*|ln_\w+)($|\.)")),
    ("attention", re.compile(r"(^|\.)(self_attn|attn|attention)($|\.)")),
    ("mlp", re.compile(r"(^|\.)(mlp|feed_forward|block_sparse_moe)($|\.)")),
)
#: Names under which quantized layers keep something other than the weight's own codes.
_OVERHEAD = re.compile(r"scale|zero|absmax|scb|code|offset|quant_map|g_idx|state", re.IGNORECASE)
#: What a module holds that is no weight, or leads away from it.
_SKIPPED = ("_modules", "_forward", "_backward", "_state_dict", "_load_state", "_hf_hook", "_old_forward", "config")


@dataclass(frozen=True)
class StoredTensor:
    """One storage, counted once: where it hangs and its bytes."""

    module: str
    attribute: str
    nbytes: int
    is_overhead: bool


def stored_tensors(model: torch.nn.Module) -> Iterator[StoredTensor]:
    """Every storage reachable from the modules, shared ones (tied embeddings) once.

    Goes through attributes too, because quantization libraries hang scales and codebooks on objects that
    `parameters()` and `buffers()` do not list (bitsandbytes: `quant_state`, its `state2`, `SCB`).
    """
    seen: set[object] = set()
    for name, module in model.named_modules():
        held = {**module._parameters, **module._buffers}
        held |= {key: value for key, value in vars(module).items() if not key.startswith(_SKIPPED) and key not in held}
        for attribute, value in held.items():
            for path, tensor in _tensors(value, attribute, seen):
                yield StoredTensor(name, path, _storage_bytes(tensor), bool(_OVERHEAD.search(path)))


def _tensors(value: object, path: str, seen: set[object], depth: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        key = _storage_key(value)
        if key not in seen:
            seen.add(key)
            yield path, value
        children = getattr(value, "__dict__", {}).items()
    elif isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list | tuple):
        children = enumerate(value)
    elif isinstance(value, torch.nn.Module | type) or callable(value) or not hasattr(value, "__dict__"):
        return
    else:
        children = vars(value).items()
    if depth < 4:
        for key, child in list(children):
            yield from _tensors(child, f"{path}.{key}", seen, depth + 1)


def _storage_key(tensor: torch.Tensor) -> object:
    # Tensors offloaded to disk are `meta` here: they have no address, but still are bytes that the variant keeps.
    if tensor.device.type == "meta":
        return id(tensor)
    storage = tensor.untyped_storage()
    # Every empty storage has address 0; they hold nothing to count twice.
    return (tensor.device, storage.data_ptr()) if storage.nbytes() else id(tensor)


def _storage_bytes(tensor: torch.Tensor) -> int:
    return tensor.nbytes if tensor.device.type == "meta" else tensor.untyped_storage().nbytes()


def part_of(module_name: str) -> str:
    """The part (see `records.PARTS`) that a module belongs to, by the names model classes use."""
    return next((part for part, pattern in _PART_OF_NAME if pattern.search(module_name)), "other")


def measure(model: torch.nn.Module) -> Storage:
    """Walk the model and add up."""
    tensors = list(stored_tensors(model))
    quantized = {t.module for t in tensors if t.is_overhead}
    parts = dict.fromkeys(PARTS, 0)
    for tensor in tensors:
        parts["quantization" if tensor.is_overhead else part_of(tensor.module)] += tensor.nbytes
    quantized_weights = sum(_logical_weights(model.get_submodule(name)) for name in quantized)
    others = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if name.rpartition(".")[0] not in quantized or name.endswith(".bias")
    )
    return Storage(
        total=sum(parts.values()),
        parts=parts,
        weights=quantized_weights + others,
        quantized_weights=quantized_weights,
        quantized_bytes=sum(t.nbytes for t in tensors if t.module in quantized and t.attribute != "bias"),
    )


def _logical_weights(layer: torch.nn.Module) -> int:
    """Weights that a quantized linear layer stands for; its tensors are packed, so their `numel` is not that."""
    return layer.in_features * layer.out_features

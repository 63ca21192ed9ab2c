"""What a quantized checkpoint says of itself, in words for people."""

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any

import torch

from quantlab.methods.bitsandbytes import what_runs as bitsandbytes_runs
from quantlab.records import ResolvedPlacement, TensorInfo

#: Kernels that turn what comes in into a type of their own, and from which types.
_PRODUCTS = {
    **dict.fromkeys(
        ("TorchAtenLinear", "TorchAtenAwqLinear", "TorchFusedLinear", "TorchFusedAwqLinear"),
        ("bfloat16", ("float32", "float16")),
    ),
    "AwqTorchLinear": ("float16", ("float32",)),
}
#: Settings worth telling, by the names that the libraries give them.
_TOLD = {
    "bits": "bits",
    "group_size": "group size",
    "sym": "symmetric",
    "zero_point": "zero points",
    "desc_act": "columns by activation",
    "checkpoint_format": "format",
    "format": "format",
    "bnb_4bit_quant_type": "data type",
    "bnb_4bit_use_double_quant": "double quantization",
    "llm_int8_threshold": "threshold",
    "activation_scheme": "activations",
    "weight_block_size": "block",
    "version": "version",
}
_FOUR_BIT_ONLY, _EIGHT_BIT_ONLY = ("bnb_4bit_quant_type", "bnb_4bit_use_double_quant"), ("llm_int8_threshold",)


def details(
    method: str, settings: Mapping[str, Any], tensors: Mapping[str, TensorInfo], revision: str | None = None
) -> dict[str, str]:
    """Method, bits, group size and so on, as the quantization_config tells, and the tensor types really stored."""
    told = {"method": method}
    quantizer = (settings.get("meta") or {}).get("quantizer")
    if quantizer:
        told["quantized by"] = ", ".join(quantizer) if isinstance(quantizer, list) else str(quantizer)
    skipped: tuple[str, ...] = ()
    if method == "bitsandbytes":
        skipped = _EIGHT_BIT_ONLY if settings.get("load_in_4bit") else _FOUR_BIT_ONLY
        told["bits"] = "4" if settings.get("load_in_4bit") else "8"
    for key, label in _TOLD.items():
        if key not in skipped and settings.get(key) is not None and label not in told:
            told[label] = _words(settings[key])
    told |= _compressed_tensors(settings) if method == "compressed-tensors" else {}
    told |= _torchao(settings) if method == "torchao" else {}
    types = Counter(info.dtype for info in tensors.values())
    told["tensor types"] = ", ".join(f"{dtype} {count}" for dtype, count in types.most_common())
    return told | ({"revision": revision} if revision else {})


def what_runs(
    network: torch.nn.Module,
    quantized: Set[str],
    method: str,
    settings: Mapping[str, Any],
    placement: ResolvedPlacement,
) -> tuple[str, str]:
    """The type that products are really computed in, and the classes of the layers that run, the most frequent first.

    `quantized` names the layers that the files hold quantized; `settings` are those of config.json.
    """
    dtype = placement.compute_dtype
    if method == "bitsandbytes":
        four_bit = settings.get("load_in_4bit")
        products = settings.get("bnb_4bit_compute_dtype", dtype) if four_bit else dtype
        kind = "nf4" if four_bit else "int8"
        computed, kernel = bitsandbytes_runs(kind, replace(placement, compute_dtype=str(products)))
        return (computed if computed == dtype or not four_bit else f"{dtype}, products in {computed}"), kernel
    names = Counter(_runs(network.get_submodule(layer)) for layer in quantized)
    kernel = f"{method} {' + '.join(name for name, _ in names.most_common())}"
    products = {_PRODUCTS[name][0] for name in names if name in _PRODUCTS and dtype in _PRODUCTS[name][1]}
    return ", products in ".join([dtype, *sorted(products)]), kernel


def _runs(layer: torch.nn.Module) -> str:
    """The class that multiplies: of the layer, or of its weight where that is a tensor made of others."""
    weight = getattr(layer, "weight", None)
    if hasattr(type(weight), "__tensor_flatten__"):
        return type(weight).__name__
    return f"{type(layer).__name__} (unpacked)" if type(layer) is torch.nn.Linear else type(layer).__name__


def _compressed_tensors(settings: Mapping[str, Any]) -> dict[str, str]:
    groups = settings.get("config_groups") or {}
    weights = [group.get("weights") or {} for group in groups.values()]
    return {
        "bits": ", ".join(str(it.get("num_bits")) for it in weights),
        "data type": ", ".join(str(it.get("type")) for it in weights),
        "group size": ", ".join(str(it.get("group_size") or it.get("strategy")) for it in weights),
        "symmetric": ", ".join(_words(it.get("symmetric")) for it in weights),
    }


def _torchao(settings: Mapping[str, Any]) -> dict[str, str]:
    kind = (settings.get("quant_type") or {}).get("default") or {}
    data = kind.get("_data") or {}
    told = {"quantized by": f"torchao {kind.get('_type', '')}".strip()}
    if data.get("group_size"):
        told["group size"] = str(data["group_size"])
    return told


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)

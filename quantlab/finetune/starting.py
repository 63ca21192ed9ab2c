"""What the matrices of adapters begin with, where that follows from the weights beside them.

LoftQ (Li et al. 2023, arXiv:2310.08659, algorithm 1 with one step): B A is the best approximation of its rank to what
quantizing took from the weights, so that the training begins nearer to the original. PiSSA (Meng et al. 2024,
arXiv:2404.02948): B A is the part of the weights with the largest singular values, and the base keeps the rest.
"""

import json
import math
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch

from quantlab import models
from quantlab.errors import ModelError
from quantlab.models import reading
from quantlab.records import Model

_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"


def loftq(network: Any, original: Model) -> None:
    """Let the adapters of a quantized `network` begin with what its weights lost of the original ones."""
    from peft.utils.integrations import dequantize_module_weight

    stored = models.tensors(original)
    with torch.no_grad(), reading.reader(original) as read:
        for name, layer in _layers(network):
            kept = dequantize_module_weight(layer.get_base_layer()).float().cpu()
            if (place := _place(name, network, stored)) is None or stored[place].shape != tuple(kept.shape):
                raise ModelError(
                    f"The files of {original.name} have no weights for the layer {name}, as LoftQ needs them.",
                    "Begin with the usual matrices (default), or choose other layers.",
                )
            lost = read(place).float() - kept
            rank, scale = layer.r["default"], layer.scaling["default"]
            left, sizes, right = torch.linalg.svd(lost, full_matrices=False)
            root = (sizes[:rank] / scale).sqrt()
            _fill(layer.lora_A["default"].weight, root[:, None] * right[:rank])
            _fill(layer.lora_B["default"].weight, left[:, :rank] * root)


def _place(layer: str, network: Any, stored: Collection[str]) -> str | None:
    """What the files call the weights of a layer: some leave out the prefix that all names of a network share."""
    prefix = f"{network.get_base_model().base_model_prefix}."
    return next((it for it in (f"{layer}.weight", f"{layer.removeprefix(prefix)}.weight") if it in stored), None)


def _fill(matrix: torch.Tensor, values: torch.Tensor) -> None:
    """The first rows or columns, as many as there are; a matrix of less rank than asked leaves the others at zero."""
    matrix.zero_()
    matrix[: values.shape[0], : values.shape[1]] = values.to(matrix)


def _layers(network: Any) -> Iterator[tuple[str, Any]]:
    """Layers with an adapter, by their names in the network itself."""
    for name, module in network.get_base_model().named_modules():
        if hasattr(module, "lora_A") and hasattr(module, "get_base_layer"):
            yield name, module


def keep_initial(network: Any, folder: Path) -> None:
    """Write what the adapters begin with: PiSSA's are told from the original weights' only by it."""
    aside = folder.with_name(f"{folder.name}.new")
    network.save_pretrained(aside)
    os.replace(aside, folder)


def as_lora(folder: Path, initial: Path) -> None:
    """Turn PiSSA's adapter in `folder` into one for the original weights, of twice the rank.

    W + dW = (W - s B0 A0) + s B A, so that dW = s [B, -B0] [A; A0] (peft's own conversion).
    """
    from safetensors.torch import load_file, save_file

    config = json.loads((folder / _CONFIG).read_text("utf-8"))
    if config["init_lora_weights"] is True:  # it was turned before
        return
    begun, found = load_file(initial / _WEIGHTS), load_file(folder / _WEIGHTS)
    for name, now in found.items():
        first = ".lora_A." in name
        found[name] = torch.cat([now, begun[name] if first else -begun[name]], dim=0 if first else 1).contiguous()
    # The scale, alpha over the rank or over its root, stays.
    config |= {"r": 2 * config["r"], "init_lora_weights": True}
    config["lora_alpha"] *= math.sqrt(2) if config["use_rslora"] else 2
    for name, write in (
        (_WEIGHTS, lambda path: save_file(found, path, {"format": "pt"})),
        (_CONFIG, lambda path: Path(path).write_text(json.dumps(config, indent=2), encoding="utf-8")),
    ):
        write(str(folder / f".{name}.new"))
        os.replace(folder / f".{name}.new", folder / name)

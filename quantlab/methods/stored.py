"""Weights as their publisher quantized them: whatever a folder, a Hub repository or a .gguf file holds."""

import math
import re
from collections.abc import Mapping
from typing import Any

from quantlab.methods.base import missing_package
from quantlab.methods.transformers_method import TransformersMethod
from quantlab.methods.weights import DTYPE_BYTES
from quantlab.models.folder import DTYPE_BITS
from quantlab.models.gguf.header import BLOCKS
from quantlab.models.layouts import FLOATS, packed_bits, quantization
from quantlab.records import PARTS, Checkpoint, Model, Precision, Progress, ResolvedPlacement, TensorInfo
from quantlab.runtime.kv_cache import GGML, HQQ_BITS
from quantlab.runtime.parts import is_overhead, part_of
from quantlab.runtime.session import LoadedModel

#: What loads each way of storing weights: Python's name of a package, and what to type where it is missing.
PACKAGES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "gptq": (("gptqmodel", "-r requirements-gptq.txt"), ("optimum", "-r requirements-gptq.txt")),
    "awq": (("gptqmodel", "-r requirements-gptq.txt"),),
    "bitsandbytes": (("bitsandbytes", "bitsandbytes"), ("accelerate", "accelerate")),
    "torchao": (("torchao", "torchao"),),
    "compressed-tensors": (("compressed_tensors", "compressed-tensors"),),
    "fp8": (("accelerate", "accelerate"),),
    "gguf": (("llama_cpp", "llama-cpp-python"),),
}
#: Tensors that only describe others (bitsandbytes).
_DESCRIPTOR = re.compile(r"\.quant_state\.bitsandbytes__|\.weight_format$")
#: How the tensors with the codes are called behind the name of their layer.
_CODES = re.compile(r"\.(qweight|weight_packed|_weight_qdata|weight)$")


class Stored(TransformersMethod[Precision]):
    """stored."""

    name = "stored"
    origin = "disk"
    reads_gguf = True
    #: Of whoever runs it: which of the two that is, is known when it is loaded.
    kv_caches = (*HQQ_BITS, *GGML)
    title = "As published"
    precisions = (Precision("stored", name, 16, "the weights as their publisher quantized them"),)

    def refuses(self, precision: Precision, checkpoint: Checkpoint, device: str) -> str | None:
        checkpoint = checkpoint.file or checkpoint
        method = checkpoint.stored_as
        if method is None:
            return "needs weights that are quantized already, and these are not: choose another precision"
        if method not in PACKAGES:
            known = ", ".join(sorted(PACKAGES))
            return f"cannot load weights stored by {method}, only by {known}: choose another checkpoint of this model"
        if method != "gguf" and not quantization(checkpoint.config):
            return (
                f"needs the settings by which {method} stored these weights (quantization_config in config.json; older"
                " programs: quantize_config.json), which are not there: get them from where it was published"
            )
        for package, typed in PACKAGES[method]:
            if missing_package(package):
                return f"needs the package {package} for weights stored by {method}: pip install {typed}"
        return None

    def weight_bytes(self, precision: Precision, rows: int, columns: int) -> int | None:
        """Never known by sizes alone; see `estimate`."""
        return None

    def bits_of(self, checkpoint: Checkpoint) -> float:
        """Bits stored for one weight of the quantized layers, scales included; of all where nothing is quantized."""
        checkpoint = checkpoint.file or checkpoint
        layers = _quantized_layers(checkpoint)
        weights = sum(_weights(layer, held, checkpoint) for layer, held in layers.items())
        nbytes = sum(_nbytes(info) for held in layers.values() for key, info in held.items() if key != "bias")
        return 8 * nbytes / weights if weights else 16.0

    def parts(self, precision: Precision, placement: ResolvedPlacement, checkpoint: Checkpoint) -> Mapping[str, int]:
        """What the files hold, the layers that are not quantized in the type in which they will compute."""
        checkpoint = checkpoint.file or checkpoint
        if checkpoint.stored_as == "gguf":
            from quantlab.methods.gguf.storage import parts_of

            return parts_of(checkpoint.tensors)
        layers = _quantized_layers(checkpoint)
        parts = dict.fromkeys(PARTS, 0)
        for name, info in checkpoint.tensors.items():
            if _DESCRIPTOR.search(name):
                continue
            layer = _layer_of(name, layers)
            widened = info.dtype in FLOATS and layer is None
            nbytes = math.prod(info.shape) * DTYPE_BYTES[placement.compute_dtype] if widened else _nbytes(info)
            overhead = layer is not None and is_overhead(name.removeprefix(f"{layer}."))
            parts["quantization" if overhead else part_of(name)] += nbytes
        return parts

    def spreads(self, checkpoint: Checkpoint) -> bool:
        return (checkpoint.file or checkpoint).stored_as != "gguf"

    def load(self, model: Model, precision: Precision, placement: ResolvedPlacement, progress: Progress) -> LoadedModel:
        if model.gguf is not None:
            from quantlab.methods.gguf import load_foreign

            return load_foreign(model.gguf, model, placement, progress)
        from quantlab.methods.quantized_loading import load_quantized

        return load_quantized(model, placement, progress, own_tokenizer=True)


def _nbytes(info: TensorInfo) -> int:
    if info.dtype in BLOCKS and info.dtype not in DTYPE_BITS:
        weights, nbytes = BLOCKS[info.dtype]
        return math.prod(info.shape) // weights * nbytes
    return math.prod(info.shape) * DTYPE_BITS[info.dtype] // 8


def _quantized_layers(checkpoint: Checkpoint) -> dict[str, dict[str, TensorInfo]]:
    """The tensors of each quantized layer, by what follows its name. Those that only describe others are left out."""
    if checkpoint.stored_as == "gguf":
        held = {name: info for name, info in checkpoint.tensors.items() if BLOCKS[info.dtype][0] > 1}
        return {name: {"weight": info} for name, info in held.items()}
    tensors = checkpoint.tensors
    codes = {name: _CODES.sub("", name) for name in tensors if _CODES.search(name)}
    # bitsandbytes may keep its codes in a floating type; then what describes them tells.
    packed = [n for n in codes if tensors[n].dtype not in FLOATS or f"{n}.absmax" in tensors]
    layers: dict[str, dict[str, TensorInfo]] = {codes[name]: {} for name in packed}
    for name, info in tensors.items():
        layer = _layer_of(name, layers)
        if layer is not None and not _DESCRIPTOR.search(name):
            layers[layer][name.removeprefix(f"{layer}.")] = info
    return layers


def _layer_of(name: str, layers: Mapping[str, Any]) -> str | None:
    """The one of `layers` that a tensor belongs to; quantizers put dots into the names behind it."""
    while name:
        name = name.rpartition(".")[0]
        if name in layers:
            return name
    return None


def _weights(layer: str, held: Mapping[str, TensorInfo], checkpoint: Checkpoint) -> int:
    """How many weights the codes of one layer stand for: by the shapes of its tensors, and where those leave it open by
    what config.json says of this very layer."""
    key, codes = next((key, info) for key, info in held.items() if _CODES.search(f".{key}"))
    if checkpoint.stored_as == "gguf":
        return math.prod(codes.shape)
    if key == "qweight" and (packed := packed_bits("", {f".{name}": info for name, info in held.items()})) is not None:
        return 8 * _nbytes(codes) // packed.bits
    if "weight.absmax" in held:
        return 2 * _nbytes(codes)
    scales, group = held.get("weight_scale"), _group_size(layer, checkpoint.config)
    if group is not None and scales is not None and len(scales.shape) == 2 and scales.shape[1] > 1:
        return scales.shape[0] * scales.shape[1] * group
    return 8 * _nbytes(codes) // _code_bits(layer, checkpoint.config, codes)


def _group_size(layer: str, config: Mapping[str, Any]) -> int | None:
    """Weights of a layer that share one scale (compressed-tensors); None where a whole row or a block does."""
    found = (_group_of(layer, quantization(config)).get("weights") or {}).get("group_size")
    return found if isinstance(found, int) and found > 0 else None


def _code_bits(layer: str, config: Mapping[str, Any], codes: TensorInfo) -> int:
    """Bits of one code of a layer, as config.json tells."""
    settings = quantization(config)
    if isinstance(bits := settings.get("bits"), int):
        return bits
    if isinstance(bits := (_group_of(layer, settings).get("weights") or {}).get("num_bits"), int):
        return bits
    kind = ((settings.get("quant_type") or {}).get("default") or {}).get("_type", "")
    return 4 if "Int4" in str(kind) else DTYPE_BITS[codes.dtype]


def _group_of(layer: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the group that a layer belongs to (compressed-tensors): by its name, else by its class."""
    groups = [it for it in (settings.get("config_groups") or {}).values() if isinstance(it, Mapping)]
    for group in groups:
        for target in group.get("targets") or ():
            pattern = str(target).removeprefix("re:")
            if (target != pattern and re.match(pattern, layer)) or target == layer:
                return group
    return next((group for group in groups if "Linear" in (group.get("targets") or ())), groups[0] if groups else {})


STORED = Stored()

"""How weights are quantized already: told by the tensors of the files, and what config.json says held against them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quantlab.errors import ModelError
from quantlab.records import TensorInfo

#: What a layer's tensors are called behind its name, and who writes them so. The first that is found counts.
_ENDINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("exl3", (".trellis",)),
    ("exl2", (".q_invperm",)),
    ("aqlm", (".codebooks",)),
    ("vptq", (".centroids",)),
    ("spqr", (".dense_weights",)),
    ("hqq", (".W_q",)),
    ("quanto", (".weight._data", ".weight.qtype", ".weight._scale")),
    ("eetq", (".weight_scales",)),
    ("mxfp4", ("_proj_blocks", ".weight_blocks")),
    ("compressed-tensors", (".weight_packed",)),
    ("bitsandbytes", (".SCB", ".weight.absmax")),
    ("fp8", (".weight_scale_inv",)),
    ("higgs", (".grid", ".tables2")),
    ("fp_quant", (".forward_hadamard_matrix",)),
    ("torchao", ("._weight_qdata",)),
)
#: Types in which weights stand for themselves.
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
#: How the embeddings and the output head are called, whatever stands before.
EMBEDDINGS = (
    *("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "tok_embeddings.weight"),
    "embeddings.weight",
)
HEADS = ("lm_head.weight", "embed_out.weight")
#: Integers, which stand for weights only with a scale.
_CODES = ("U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64")
#: Names that config.json gives to what its tensors cannot tell from another: who reads them is told by the setting.
_ALSO = {
    "gptq": ("auto-round", "intel/auto-round", "quantization_config"),
    "awq": ("auto-round", "intel/auto-round", "quantization_config"),
    "compressed-tensors": ("fbgemm_fp8", "quark", "modelopt", "fp8", "quantization_config"),
    "mlx": ("quantization_config",),
    "fp8": ("quantization_config", "modelopt", "compressed-tensors"),
    "mxfp4": ("compressed-tensors", "quark"),
}
#: Matrices of the repeated blocks, whose names hold a number: what GPTQ and AWQ quantize.
IN_BLOCK = re.compile(r"\.\d+\..*weight$")
#: The names of older programs (AutoAWQ).
_AUTOAWQ = {"w_bit": "bits", "q_group_size": "group_size"}
_SETTINGS = ("quantization_config", "compression_config")
_ASK = "Ask who published it, or choose another checkpoint of this model."


def quantization(config: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json says of how its weights are quantized, under either of the names in use; empty: nothing."""
    named = (config.get(key) for key in _SETTINGS)
    return next((found for found in named if isinstance(found, dict) and found), {})


def named_by(config: Mapping[str, Any]) -> str | None:
    """How the weights of a folder are quantized already, by the name that its config.json gives; None: they are not."""
    if not (found := quantization(config)):
        return None
    # Before it had a name for its method, bitsandbytes wrote only how many bits to load.
    old = "bitsandbytes" if found.get("load_in_4bit") or found.get("load_in_8bit") else "quantization_config"
    return str(found.get("quant_method") or old)


def stored_as(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> str | None:
    """How the weights are quantized already; None: they are not, whatever config.json says.

    Raises ModelError where config.json and the tensors contradict each other, or codes have no scales.
    """
    told, named = stored_as_by_tensors(tensors), named_by(config)
    if told is None:
        coded = next((name for name, info in tensors.items() if _is_coded(name, info)), None)
        if coded is not None and named is None and tensors[coded].dtype in _CODES:
            raise ModelError(
                f"The weights hold {coded} as {tensors[coded].dtype}, codes without the scales that they stand for.",
                _ASK,
            )
        return named if coded is not None else None
    if named is None:
        return told
    named = named.replace("_", "-") if named.replace("_", "-") == told else named
    if named != told and named not in _ALSO.get(told, ()):
        raise ModelError(
            f"config.json says that the weights are stored by {named}, but they are stored by {told}.", _ASK
        )
    return told if named == "quantization_config" else named


def corrected(config: dict[str, Any], tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """The configuration with settings for quantized weights only where there are such, and for those that are.

    A folder of original weights beside the settings of what was once made of it is read as original weights. Layers
    that GPTQ or AWQ left as they were are named to the loader, which would look for their codes.
    """
    plain = {key: value for key, value in config.items() if key not in _SETTINGS}
    if not (settings := quantization(config)):
        return plain
    if (method := stored_as(config, tensors)) is None:
        return plain
    if method == "bitsandbytes":
        return plain | {"quantization_config": settings | _bitsandbytes(tensors)}
    if method not in ("gptq", "awq"):
        return config
    quantized = sorted(name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight"))
    wide = sorted(
        name.removesuffix(".weight")
        for name, info in tensors.items()
        if len(info.shape) == 2 and IN_BLOCK.search(name) and info.dtype in FLOATS
    )
    settings = {_AUTOAWQ.get(key, key): value for key, value in settings.items()} | _words(settings, method, tensors)
    if wide and method == "gptq":
        settings["modules_in_block_to_quantize"] = [quantized]
    elif wide:
        settings["modules_to_not_convert"] = [*(settings.get("modules_to_not_convert") or ()), *wide]
    return plain | {"quantization_config": settings | {"quant_method": method}}


@dataclass(frozen=True)
class Packed:
    """How a layer's codes lie: bits of each, and how many weights share a scale; `whole`: all of a row do."""

    bits: int
    group: int
    whole: bool

    def __str__(self) -> str:
        return f"{self.bits} bits with one scale a row" if self.whole else f"{self.bits} bits in groups of {self.group}"


def packed_bits(layer: str, tensors: Mapping[str, TensorInfo]) -> Packed | None:
    """How a layer of GPTQ or AWQ is packed; None where the shapes of its tensors leave it open.

    GPTQ packs `qweight` as [inputs * bits / 32, outputs], AWQ as [inputs, outputs * bits / 32]; both have `scales` of
    [groups, outputs] and `qzeros` of [groups, outputs * bits / 32].
    """
    codes, scales, zeros = (tensors.get(f"{layer}.{key}") for key in ("qweight", "scales", "qzeros"))
    if codes is None or scales is None or zeros is None or not all(len(it.shape) == 2 for it in (codes, scales, zeros)):
        return None
    groups, outputs = scales.shape
    if not groups or not outputs or not zeros.shape[1] or 32 * zeros.shape[1] % outputs:
        return None
    bits = 32 * zeros.shape[1] // outputs
    inputs = codes.shape[0] if codes.shape[1] != outputs else 32 * codes.shape[0] // bits
    return Packed(bits, -(-inputs // groups), groups == 1)


def stored_as_by_tensors(tensors: Mapping[str, TensorInfo]) -> str | None:
    """The name of the way of storing; None where all looks like original weights."""
    for name, endings in _ENDINGS:
        if any(tensor.endswith(endings) for tensor in tensors):
            return name
    packed = next((tensor.removesuffix(".qweight") for tensor in tensors if tensor.endswith(".qweight")), None)
    if packed is not None:
        return _of_words(packed, tensors)
    for tensor, info in tensors.items():
        if info.dtype == "U32" and f"{tensor.removesuffix('weight')}scales" in tensors:
            return "mlx"
        if info.dtype not in FLOATS and tensor.endswith(".weight") and f"{tensor}_scale" in tensors:
            return "compressed-tensors"
    return None


def _of_words(layer: str, tensors: Mapping[str, TensorInfo]) -> str:
    """Codes in words of 32 bits with scales beside: GPTQ packs inputs, AWQ outputs."""
    codes, scales = tensors[f"{layer}.qweight"], tensors.get(f"{layer}.scales")
    if scales is None or f"{layer}.g_idx" in tensors:
        return "gptq"
    return "gptq" if codes.shape[-1] == scales.shape[-1] else "awq"


def _is_coded(name: str, info: TensorInfo) -> bool:
    return name.endswith("weight") and len(info.shape) > 1 and info.dtype not in FLOATS


def _words(settings: Mapping[str, Any], method: str, tensors: Mapping[str, TensorInfo]) -> dict[str, int]:
    """Bits and group size as all layers of GPTQ or AWQ have them, by their tensors; empty where those leave it open.

    Raises ModelError where layers differ: what loads them takes one setting for all.
    """
    told = {name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")}
    packed = {layer: found for layer in sorted(told) if (found := packed_bits(layer, tensors)) is not None}
    if not packed:
        return {}
    said = settings.get("group_size", settings.get("q_group_size"))
    first = next((layer for layer, it in packed.items() if not it.whole), next(iter(packed)))
    model = packed[first]
    for layer, it in packed.items():
        alike = it.group == model.group or (it.whole and (model.whole or it.group < model.group))
        if it.bits != model.bits or not alike:
            why = "; its setting `dynamic` asks for that" if settings.get("dynamic") else ""
            raise ModelError(
                f"Its layers are stored by {method} in different ways ({first}: {model}, {layer}: {it}{why}).",
                "What loads such weights takes one number of bits and one group size for all layers. Choose another"
                " checkpoint of this model.",
            )
    largest = max(it.group for it in packed.values())
    whole = said if isinstance(said, int) and said >= largest else -1
    return {"bits": model.bits, "group_size": whole if model.whole else model.group}


def _bitsandbytes(tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """The settings of bitsandbytes as the tensors tell them. Raises ModelError where layers differ."""
    four = next((name for name in tensors if name.endswith(".weight.absmax")), None)
    eight = next((name for name in tensors if name.endswith(".SCB")), None)
    if four and eight:
        raise ModelError(
            f"Its layers are stored by bitsandbytes in different ways ({four}: 4 bits, {eight}: 8).",
            "What loads such weights takes one way for all layers. Choose another checkpoint of this model.",
        )
    if not four and not eight:
        return {}
    held = ((4, four), (8, eight))
    told: dict[str, Any] = {f"{prefix}load_in_{bits}bit": bool(it) for prefix in ("", "_") for bits, it in held}
    kind = next((name.rpartition("__")[2] for name in tensors if ".quant_state.bitsandbytes__" in name), None)
    if kind is not None:
        told["bnb_4bit_quant_type"] = kind
        told["bnb_4bit_use_double_quant"] = any(name.endswith(".weight.nested_absmax") for name in tensors)
    return told

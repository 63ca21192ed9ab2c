"""How weights are quantized already, told by the tensors of the files where config.json says nothing of it."""

from collections.abc import Mapping

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
)


def told_by_tensors(tensors: Mapping[str, TensorInfo]) -> str | None:
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
    return None


def _of_words(layer: str, tensors: Mapping[str, TensorInfo]) -> str:
    """Codes in words of 32 bits with scales beside: GPTQ packs inputs, AWQ outputs."""
    codes, scales = tensors[f"{layer}.qweight"], tensors.get(f"{layer}.scales")
    if scales is None or f"{layer}.g_idx" in tensors:
        return "gptq"
    return "gptq" if codes.shape[-1] == scales.shape[-1] else "awq"

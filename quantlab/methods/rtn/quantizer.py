"""Round-to-nearest as a quantizer of transformers, so that `from_pretrained` places and quantizes tensor by tensor."""

import torch
from transformers.core_model_loading import ConversionOps
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import get_module_from_name, should_convert_module
from transformers.utils.quantization_config import QuantizationConfigMixin

from quantlab.methods.rtn.linear import RtnLinear, pack, quantize


@register_quantization_config("quantlab-rtn")
class RtnConfig(QuantizationConfigMixin):
    """The options of `RtnPrecision`, in the form that transformers hands to its quantizers."""

    def __init__(self, bits: int = 4, group_size: int = 64, symmetric: bool = False, **_kwargs) -> None:
        self.quant_method = "quantlab-rtn"
        self.bits, self.group_size, self.symmetric = bits, group_size, symmetric


@register_quantizer("quantlab-rtn")
class RtnQuantizer(HfQuantizer):
    """Replaces linear layers by `RtnLinear` and rounds each weight as it arrives."""

    requires_calibration = False

    def _process_model_before_weight_loading(self, model: torch.nn.Module, **_kwargs) -> None:
        options = self.quantization_config
        kept = self.get_modules_to_not_convert(model, None, model._keep_in_fp32_modules)
        for name, module in list(model.named_modules()):
            if not isinstance(module, torch.nn.Linear | Conv1D) or not should_convert_module(name, kept):
                continue
            transposed = isinstance(module, Conv1D)
            outputs, inputs = module.weight.shape[::-1] if transposed else module.weight.shape
            with torch.device("meta"):
                bias = module.bias is not None
                layer = RtnLinear(inputs, outputs, bias, options.bits, options.group_size, options.symmetric)
            if bias:
                layer.bias = torch.nn.Parameter(module.bias, requires_grad=False)
            layer.source_is_transposed = transposed
            model.set_submodule(name, layer)

    def param_needs_quantization(self, model: torch.nn.Module, param_name: str, **_kwargs) -> bool:
        module, tensor = get_module_from_name(model, param_name)
        return isinstance(module, RtnLinear) and tensor == "weight"

    def get_quantize_ops(self) -> ConversionOps:
        return _Round(self)

    def is_serializable(self) -> bool:
        return False

    @property
    def is_trainable(self) -> bool:
        return False


class _Round(ConversionOps):
    """One weight in, its packed codes, scales and zero points out."""

    def __init__(self, quantizer: RtnQuantizer) -> None:
        self.quantizer = quantizer

    def convert(self, input_dict: dict, model: torch.nn.Module | None = None, **_kwargs) -> dict[str, torch.Tensor]:
        ((name, value),) = input_dict.items()
        value = value[0] if isinstance(value, list) else value
        layer, _ = get_module_from_name(model, name)
        if layer.source_is_transposed:
            value = value.T
        codes, scale, zero_point = quantize(value, layer.bits, layer.group_size, layer.symmetric)
        prefix = name.removesuffix("weight")
        made = {name: pack(codes, layer.bits), f"{prefix}scale": scale}
        return made if zero_point is None else made | {f"{prefix}zero_point": zero_point}

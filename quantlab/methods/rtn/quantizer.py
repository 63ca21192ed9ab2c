"""Round-to-nearest as a quantizer of transformers, so that `from_pretrained` places and quantizes tensor by tensor."""

import torch
from transformers.core_model_loading import ConversionOps
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import get_module_from_name
from transformers.utils.quantization_config import QuantizationConfigMixin

from quantlab.methods.rtn.experts import StackOptions, register, unpack_when_read
from quantlab.methods.rtn.linear import RtnLinear, pack, quantize
from quantlab.methods.skeleton import expert_stacks, linear_layers


@register_quantization_config("quantlab-rtn")
class RtnConfig(QuantizationConfigMixin):
    """The options of `RtnPrecision`, in the form that transformers hands to its quantizers."""

    def __init__(self, bits: int = 4, group_size: int = 64, symmetric: bool = False, **_kwargs: object) -> None:
        self.quant_method = "quantlab-rtn"
        self.bits, self.group_size, self.symmetric = bits, group_size, symmetric


@register_quantizer("quantlab-rtn")
class RtnQuantizer(HfQuantizer):
    """Replaces linear layers by `RtnLinear`, stacks of experts by packed ones, and rounds each weight as it arrives."""

    requires_calibration = False

    def _process_model_before_weight_loading(self, model: torch.nn.Module, **_kwargs: object) -> None:
        options = self.quantization_config
        for name, outputs, inputs in list(linear_layers(model)):
            module = model.get_submodule(name)
            with torch.device("meta"):
                bias = module.bias is not None
                layer = RtnLinear(inputs, outputs, bias, options.bits, options.group_size, options.symmetric)
            if bias:
                layer.bias = torch.nn.Parameter(module.bias, requires_grad=False)
            layer.source_is_transposed = isinstance(module, Conv1D)
            model.set_submodule(name, layer)
        for _, module, attribute, transposed in list(expert_stacks(model)):
            weight = module._parameters[attribute]
            experts, rows, columns = (weight.transpose(1, 2) if transposed else weight).shape
            stack = ((experts, rows, columns), options.bits, options.group_size, options.symmetric, transposed)
            module.rtn_dtype = weight.dtype
            register(module, attribute, StackOptions(*stack))

    def _process_model_after_weight_loading(self, model: torch.nn.Module, **_kwargs: object) -> None:
        experts = [module for module in model.modules() if hasattr(module, "rtn_stacks")]
        for module in experts:
            unpack_when_read(module)
        if experts:
            # One expert after the other, so that only those which are needed are unpacked.
            model.config._experts_implementation = "eager"

    def param_needs_quantization(self, model: torch.nn.Module, param_name: str, **_kwargs: object) -> bool:
        module, tensor = get_module_from_name(model, param_name)
        return (isinstance(module, RtnLinear) and tensor == "weight") or tensor in getattr(module, "rtn_stacks", ())

    def get_quantize_ops(self) -> ConversionOps:
        return _Round(self)

    def is_serializable(self) -> bool:
        return False

    @property
    def is_trainable(self) -> bool:
        return False


class _Round(ConversionOps):
    """Weights in, their packed codes, scales and zero points out."""

    def __init__(self, quantizer: RtnQuantizer) -> None:
        self.quantizer = quantizer

    def convert(
        self, input_dict: dict, model: torch.nn.Module | None = None, **_kwargs: object
    ) -> dict[str, torch.Tensor]:
        made: dict[str, torch.Tensor] = {}
        # More than one where a tensor of the file is taken apart into several layers, which need not all be quantized.
        for name, value in input_dict.items():
            value = value[0] if isinstance(value, list) else value
            if self.quantizer.param_needs_quantization(model, name):
                made |= self._rounded(name, value, *get_module_from_name(model, name))
            else:
                made[name] = value
        return made

    def _rounded(self, name: str, value: torch.Tensor, module: torch.nn.Module, tensor: str) -> dict[str, torch.Tensor]:
        if not isinstance(module, RtnLinear):
            return self._stack(name, value, module.rtn_stacks[tensor])
        if module.source_is_transposed:
            value = value.T
        codes, scale, zero_point = quantize(value, module.bits, module.group_size, module.symmetric)
        prefix = name.removesuffix("weight")
        made = {name: pack(codes, module.bits), f"{prefix}scale": scale}
        return made if zero_point is None else made | {f"{prefix}zero_point": zero_point}

    def _stack(self, name: str, value: torch.Tensor, options: StackOptions) -> dict[str, torch.Tensor]:
        """Expert by expert: the whole stack in float32 would be the largest tensor of the load."""
        packed, scales, zeros = [], [], []
        for weight in value.transpose(1, 2) if options.transposed else value:
            codes, scale, zero_point = quantize(weight, options.bits, options.group_size, options.symmetric)
            packed.append(pack(codes, options.bits))
            scales.append(scale)
            zeros.append(zero_point)
        made = {name: torch.stack(packed), f"{name}_scale": torch.stack(scales)}
        return made if options.symmetric else made | {f"{name}_zero_point": torch.stack(zeros)}

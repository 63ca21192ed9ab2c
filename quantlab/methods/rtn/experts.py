"""The experts of a mixture at round to nearest.

transformers keeps the matrices of all experts of a layer as one parameter `[experts, outputs, inputs]` (some classes
`[experts, inputs, outputs]`) and takes single ones out of it, or multiplies by all of them. Here that parameter holds
packed integers, and whoever reads it is given a stand-in that unpacks what is asked for.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from quantlab.methods.rtn.layout import packed_columns, padded
from quantlab.methods.rtn.linear import decoded_scale, dequantize


@dataclass(frozen=True)
class StackOptions:
    """How one stack is stored: its logical shape `[experts, rows, columns]`, and whether classes see it turned."""

    shape: tuple[int, int, int]
    bits: int
    group_size: int
    symmetric: bool
    transposed: bool


def register(module: torch.nn.Module, attribute: str, options: StackOptions) -> None:
    """Make room in a module for the integers, scales and zero points of one of its parameters."""
    experts, rows, columns = options.shape
    groups = padded(columns, options.group_size) // options.group_size
    packed = packed_columns(columns, options.bits, options.group_size)
    with torch.device("meta"):
        codes = torch.empty(experts, rows, packed, dtype=torch.uint8)
        scale = torch.empty(experts, rows, groups, dtype=torch.float16)
        zero = None if options.symmetric else torch.empty(experts, rows, groups, dtype=torch.uint8)
    module._parameters[attribute] = torch.nn.Parameter(codes, requires_grad=False)
    module.register_buffer(f"{attribute}_scale", scale)
    module.register_buffer(f"{attribute}_zero_point", zero)
    module.rtn_stacks = {**getattr(module, "rtn_stacks", {}), attribute: options}


def unpack_when_read(module: torch.nn.Module) -> None:
    """Once its tensors are there: reading a quantized parameter gives a `Stack`."""
    module.__class__ = _reading(module.__class__, tuple(module.rtn_stacks))


@cache
def _reading(kind: type[torch.nn.Module], attributes: tuple[str, ...]) -> type[torch.nn.Module]:
    def stack(attribute: str) -> property:
        return property(lambda module: Stack(module, attribute))

    return type(kind.__name__, (kind,), {name: stack(name) for name in attributes})


class Stack:
    """Stands for the un-quantized parameter. One expert is unpacked by its index; a product by all unpacks all."""

    def __init__(self, module: torch.nn.Module, attribute: str) -> None:
        self._module, self._attribute = module, attribute
        self._options: StackOptions = module.rtn_stacks[attribute]

    @property
    def shape(self) -> torch.Size:
        experts, rows, columns = self._options.shape
        return torch.Size((experts, columns, rows) if self._options.transposed else (experts, rows, columns))

    @property
    def ndim(self) -> int:
        return 3

    @property
    def dtype(self) -> torch.dtype:
        """The type that products are computed in: that of the model's un-quantized weights."""
        return self._module.rtn_dtype

    def __getitem__(self, index: Any) -> torch.Tensor:
        return self._unpacked(index)

    def __len__(self) -> int:
        return self._options.shape[0]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._unpacked(slice(None)), name)

    @classmethod
    def __torch_function__(cls, function, _types, args=(), kwargs=None):
        def whole(value: object) -> object:
            return value._unpacked(slice(None)) if isinstance(value, Stack) else value

        return function(*map(whole, args), **{key: whole(value) for key, value in (kwargs or {}).items()})

    def _unpacked(self, index: Any) -> torch.Tensor:
        options, buffers = self._options, self._module._buffers
        codes, scale = self._module._parameters[self._attribute][index], buffers[f"{self._attribute}_scale"][index]
        zero = buffers[f"{self._attribute}_zero_point"]
        shape, columns = codes.shape[:-1], options.shape[2]
        weight = dequantize(
            codes.flatten(0, -2),
            decoded_scale(scale).flatten(0, -2),
            None if zero is None else zero[index].flatten(0, -2),
            options.bits,
            options.group_size,
            self.dtype,
        )[:, :columns].view(*shape, columns)
        return weight.transpose(-1, -2) if options.transposed else weight

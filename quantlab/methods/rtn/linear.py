"""Quantize, pack, unpack: the arithmetic of round-to-nearest, and the linear layer that lives on it."""

import torch

from quantlab.methods.rtn.layout import PLANES, packed_columns, padded

#: The least that float16 holds beside zero, its least normal number, and its largest one.
SMALLEST, SMALLEST_NORMAL, LARGEST = 2.0**-24, 2.0**-14, 65_504.0
#: Below `FEW_DIGITS` a float16 has fewer than six binary digits. Scales down there, and those beyond `LARGEST`, are
#: kept with a factor, and their sign, which no scale needs, says so: -s is s * `SHRUNK` for s < 1, else s * `GROWN`.
FEW_DIGITS = SHRUNK = 2.0**-18
GROWN = 2.0**16


def quantize(
    weight: torch.Tensor, bits: int, group_size: int, symmetric: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Round a weight `[rows, columns]` to integers.

    Returns codes `[rows, padded columns]` (uint8, below 2**bits), scales `[rows, groups]` (float16, as `stored`) and
    zero points `[rows, groups]` (uint8; None when symmetric, where the middle code stands for zero). The weight is
    `(code - zero_point) * decoded_scale(scale)`: uniform affine quantization,
    Jacob et al. 2018, arXiv:1712.05877, eq. 1. The
    codes are computed with the scale as stored, so its own rounding costs nothing more.
    """
    rows, columns = weight.shape
    grouped = torch.nn.functional.pad(weight.float(), (0, padded(columns, group_size) - columns))
    grouped = grouped.view(rows, -1, group_size)
    top = 2**bits - 1
    if symmetric:
        span, steps = grouped.abs().amax(-1), top // 2
    else:
        # Zero always lies in the range, so that it stays exactly zero.
        low, high = grouped.amin(-1).clamp(max=0), grouped.amax(-1).clamp(min=0)
        span, steps = high - low, top
    scale = stored(span / steps)
    step = decoded_scale(scale).unsqueeze(-1)
    zero = (top + 1) // 2 if symmetric else (-low.unsqueeze(-1) / step).round().clamp(0, top)
    codes = ((grouped / step).round() + zero).clamp(0, top).to(torch.uint8).view(rows, -1)
    return codes, scale, None if symmetric else zero.squeeze(-1).to(torch.uint8)


def stored(scale: torch.Tensor) -> torch.Tensor:
    """Scales (float32, at least zero) as the float16 that `decoded_scale` reads,
    with six binary digits from 2e-11 to 4e9.

    Zero becomes the smallest number, so that it can be divided by. What is not finite stays so.
    """
    small, large = (scale > 0) & (scale < FEW_DIGITS), (scale > LARGEST) & scale.isfinite()
    magnitude = torch.where(small, (scale / SHRUNK).clamp(max=1 - 2.0**-11), scale)
    magnitude = torch.where(large, (scale / GROWN).clamp(1, LARGEST), magnitude).clamp(min=SMALLEST)
    rounded = magnitude.to(torch.float16)
    # Below its smallest normal number float16 goes on in equal steps, with fewer digits: the codes are computed with
    # what is stored, so that much of it is made up for. There a scale is never rounded down: the largest weights would
    # be out of reach.
    short = (rounded.float() < magnitude) & (magnitude < SMALLEST_NORMAL)
    rounded = torch.where(short, rounded + SMALLEST, rounded)
    return torch.where(small | large, -rounded, rounded)


def decoded_scale(scale: torch.Tensor) -> torch.Tensor:
    """The scales, float32, that `stored` kept."""
    found = scale.float()
    size = found.abs()
    return torch.where(found < 0, size * torch.where(size < 1, SHRUNK, GROWN), found)


def pack(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes `[rows, columns]` to bytes `[rows, columns * bits / 8]`, the planes of `PLANES` side by side.

    A byte of a plane holds codes that lie far apart (the first half of the row in the low bits, the second in the
    high ones, when it holds two), so that unpacking writes whole stretches and not every second column.
    """
    planes, shift = [], bits
    for width in PLANES[bits]:
        shift -= width
        stretches = ((codes >> shift) & (2**width - 1)).chunk(8 // width, dim=-1)
        plane = torch.zeros_like(stretches[0])
        for index, stretch in enumerate(stretches):
            plane |= stretch << (index * width)
        planes.append(plane)
    return torch.cat(planes, dim=-1)


def unpack(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """The inverse of `pack`."""
    columns = packed.shape[1] * 8 // bits
    codes, first = None, 0
    for width in PLANES[bits]:
        last = first + columns * width // 8
        part = packed[:, first:last]
        plane = torch.cat([(part >> offset) & (2**width - 1) for offset in range(0, 8, width)], dim=-1)
        codes = plane if codes is None else codes.bitwise_left_shift_(width).bitwise_or_(plane)
        first = last
    return codes


def dequantize(
    packed: torch.Tensor,
    scale: torch.Tensor,
    zero_point: torch.Tensor | None,
    bits: int,
    group_size: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    """What `quantize` and `pack` made, as a weight `[rows, padded columns]` in `dtype`. `scale` as `decoded_scale`."""
    codes = unpack(packed, bits).view(len(packed), -1, group_size).to(dtype)
    zero = 2 ** (bits - 1) if zero_point is None else zero_point.unsqueeze(-1).to(dtype)
    return codes.sub_(zero).mul_(scale.unsqueeze(-1).to(dtype)).view(len(packed), -1)


class RtnLinear(torch.nn.Module):
    """A linear layer whose weight is kept as packed integers and unpacked for each product.

    Parameter: `weight` (packed, uint8). Buffers: `scale` (float16) and, unless symmetric, `zero_point` (uint8). `bias`
    is in the model's own type.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool, bits: int, group_size: int, symmetric: bool
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.bits, self.group_size, self.symmetric = bits, group_size, symmetric
        groups = padded(in_features, group_size) // group_size
        packed = torch.empty(out_features, packed_columns(in_features, bits, group_size), dtype=torch.uint8)
        # A parameter like the one it stands for: transformers asks for its rows where a tensor of a file is split.
        self.weight = torch.nn.Parameter(packed, requires_grad=False)
        self.register_buffer("scale", torch.empty(out_features, groups, dtype=torch.float16))
        zero_point = None if symmetric else torch.empty(out_features, groups, dtype=torch.uint8)
        self.register_buffer("zero_point", zero_point)
        self.bias = torch.nn.Parameter(torch.empty(out_features), requires_grad=False) if bias else None
        #: Whether all scales stand for themselves, asked at the first product.
        self._ordinary: bool | None = None

    def dequantize(self, dtype: torch.dtype) -> torch.Tensor:
        """The weight `[out_features, in_features]` that the integers stand for."""
        if self._ordinary is None:
            self._ordinary = not bool((self.scale < 0).any())
        scale = self.scale if self._ordinary else decoded_scale(self.scale)
        options = self.bits, self.group_size, dtype
        return dequantize(self.weight, scale, self.zero_point, *options)[:, : self.in_features]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x, self.dequantize(x.dtype), self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bits={self.bits}, group_size={self.group_size}"

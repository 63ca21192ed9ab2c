"""The weights that GPTQ's and AWQ's packed codes stand for, by the formats' own definition."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

#: Where AWQ puts eight neighbouring outputs within a word of 32 bits (`gemm`): the value at place i of a word belongs
#: to output _AWQ_ORDER[i]. Source: AutoAWQ, `awq/utils/packing_utils.py`.
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


@dataclass(frozen=True)
class Opened:
    """The parts of one layer's packed weight, float32: `codes` `[inputs, outputs]`, `zeros` and `scales`
    `[groups, outputs]`, and the `group` of each input (int64)."""

    codes: torch.Tensor
    zeros: torch.Tensor
    scales: torch.Tensor
    group: torch.Tensor


def weight_of(held: Mapping[str, torch.Tensor], method: str, bits: int, stored_format: str = "gptq") -> torch.Tensor:
    """float32 `[outputs, inputs]`: scale * (code - zero point). The arguments are those of `opened`."""
    found = opened(held, method, bits, stored_format)
    return ((found.codes - found.zeros[found.group]) * found.scales[found.group]).T


def opened(held: Mapping[str, torch.Tensor], method: str, bits: int, stored_format: str = "gptq") -> Opened:
    """What lies in the packed words.

    `held`: the tensors of one layer as its file holds them, `qweight`, `qzeros`, `scales` and, for GPTQ, `g_idx` (the
    group of each input; without it inputs are in groups one after the other). `stored_format`: GPTQ's
    `checkpoint_format`; all but `gptq_v2` keep zero points less one.
    """
    scales = held["scales"].float()
    if method == "awq":
        codes, zeros = (_in_order(_unpacked(held[key], bits)) for key in ("qweight", "qzeros"))
    else:
        codes, zeros = _unpacked(held["qweight"].T, bits).T, _unpacked(held["qzeros"], bits)
        zeros = zeros if stored_format == "gptq_v2" else (zeros + 1) % 2**bits
    inputs = len(codes)
    group = held.get("g_idx")
    group = torch.arange(inputs) // -(-inputs // len(scales)) if group is None else group.long()
    return Opened(codes, zeros, scales, group)


def factors(original: torch.Tensor, found: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The factors a column `[1, inputs]` and a row `[outputs, 1]` that bring `original` nearest to `found`, by least
    squares in turn.

    AWQ multiplies columns and takes that back in front of the layer: in the norm, or in the rows of the layer before.
    """
    both = [torch.ones(1, original.shape[1]), torch.ones(original.shape[0], 1)]
    for axis in (0, 1, 0, 1):
        fit = (original * found).sum(axis, keepdim=True) / original.square().sum(axis, keepdim=True).clamp(min=1e-30)
        both[axis] *= fit
        original = original * fit
    return both[0], both[1]


def format_of(settings: Mapping[str, Any]) -> str:
    """GPTQ's `checkpoint_format`, under either of the names in use."""
    return settings.get("checkpoint_format") or settings.get("format") or "gptq"


def wrong_format(zeros: torch.Tensor, bits: int, settings: Mapping[str, Any]) -> str | None:
    """What zero points (`qzeros`) of GPTQ say against the format that config.json names, in words; None: nothing.

    Symmetric codes have one zero point, half of their range, which `gptq` keeps less one and `gptq_v2` as it is.
    """
    values = _unpacked(zeros[:1], bits).unique().tolist()
    said = format_of(settings)
    half = 2 ** (bits - 1)
    told = {half - 1: "gptq", half: "gptq_v2"}.get(values[0]) if len(values) == 1 else None
    if not settings.get("sym") or told is None or said not in ("gptq", "gptq_v2") or said == told:
        return None
    return f"its zero points are those of the format {told}, and config.json says {said}"


def _unpacked(words: torch.Tensor, bits: int) -> torch.Tensor:
    """int32 `[rows, words]` as float32 `[rows, 32 * words / bits]`: each row is a stream of bits, the lowest first."""
    stream = np.unpackbits(np.ascontiguousarray(words.numpy()).view(np.uint8), axis=1, bitorder="little")
    values = stream.reshape(len(words), -1, bits)
    return torch.from_numpy(values @ (1 << np.arange(bits)).astype(np.float32))


def _in_order(values: torch.Tensor) -> torch.Tensor:
    """AWQ's values of one row, by the outputs that they belong to."""
    ordered = torch.empty_like(values).view(len(values), -1, len(_AWQ_ORDER))
    ordered[..., list(_AWQ_ORDER)] = values.view_as(ordered)
    return ordered.view_as(values)

"""What GPTQ and AWQ make of a matrix, laid open (see `methods.rounded`): read from the packed codes of a checkpoint."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError

from quantlab.errors import ModelError
from quantlab.methods.gptq.packed import format_of, opened
from quantlab.methods.rounded import Matrix, Rounded, integers
from quantlab.models.folder import read_config, read_tensors
from quantlab.models.layouts import quantization
from quantlab.models.reading import reader
from quantlab.records import Model

NOTE = "A scale of 16 bits and a zero point for each group of a row."
_TENSORS = ("qweight", "qzeros", "scales", "g_idx")


def kept(matrix: Matrix, method: str, bits: int, folder: Path, parts: Mapping[str, int]) -> Rounded | None:
    """The rows asked for as `folder` holds them; None where this layer was left as it is. Raises ModelError."""
    layer = matrix.name.removesuffix(".weight")
    try:
        held = _tensors(folder, layer)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"The kept checkpoint {folder.name} cannot be read ({error}).", "Quantize it again."
        ) from error
    if "qweight" not in held:
        return None
    stored_format = format_of(quantization(read_config(folder, folder.name)) or {})
    found = opened(held, method, bits, stored_format)
    rows = torch.arange(found.codes.shape[1])[matrix.rows]
    groups = len(found.scales)
    zeros, scales = found.zeros.T[matrix.rows], found.scales.T[matrix.rows]
    codes = found.codes.T[matrix.rows]
    return Rounded(
        codes.long(),
        (codes - zeros[:, found.group]) * scales[:, found.group],
        integers(0, 2**bits - 1),
        0,
        torch.arange(len(rows)).unsqueeze(1) * groups + found.group,
        scales.flatten(),
        parts,
        zeros.flatten(),
        note=f"{NOTE} From the packed codes of the checkpoint that is kept of this model.",
    )


def plain(matrix: Matrix, bits: int, group_size: int, symmetric: bool, parts: Mapping[str, int]) -> Rounded:
    """The grid alone, each number rounded to the nearest level: what is done without a text to calibrate by."""
    from quantlab.methods.rtn.grid import grid

    return replace(grid(matrix, bits, group_size, symmetric, parts), note=NOTE, caution=PLAIN)


PLAIN = (
    "The grid alone, with plain rounding: the method itself makes up for errors, over a text. Once a model was run at "
    "this precision, the codes that are kept of it are shown."
)


def _tensors(folder: Path, layer: str) -> dict[str, torch.Tensor]:
    there = read_tensors(folder, folder.name)
    with reader(Model(folder.name, "folder", folder)) as read:
        return {each: read(name) for each in _TENSORS if (name := f"{layer}.{each}") in there}

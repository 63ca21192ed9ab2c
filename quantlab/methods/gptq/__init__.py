"""GPTQ: rounding column by column, each error made up for by the columns that follow (arXiv:2210.17323)."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantlab.errors import BadInput
from quantlab.methods.gptq.shared import GROUP_SIZE, GROUP_SIZES, CalibratedMethod
from quantlab.methods.rounded import Matrix, Rounded
from quantlab.records import Precision

_NAMES = {8: "eight", 4: "four", 3: "three", 2: "two"}
#: Whether the middle code stands for zero unless a name says otherwise. With 8 bits it makes no difference, and the
#: fastest kernel (Marlin) wants it; with fewer, a zero point for each group halves the divergence.
SYMMETRIC = {8: True, 4: False, 3: False, 2: False}


@dataclass(frozen=True)
class GptqPrecision(Precision):
    """`desc_act` quantizes the columns in the order of their activations' size, the largest first."""

    weight_bits: int
    group_size: int = GROUP_SIZE
    desc_act: bool = False
    symmetric: bool = False


def gptq_precision(
    bits: int, group_size: int = GROUP_SIZE, desc_act: bool = False, symmetric: bool | None = None
) -> GptqPrecision:
    """A precision of this method; `symmetric` None is the default of the width.

    A group costs 16 bits for its scale and as many as a code for its zero point, which the format stores in any case.
    The 32 bits for each column's group are not counted in `bits`: they do not grow with the rows.
    """
    symmetric = SYMMETRIC[bits] if symmetric is None else symmetric
    name = f"gptq-{bits}" + f"-g{group_size}" * (group_size != GROUP_SIZE) + "-act" * desc_act
    summary = f"{_NAMES[bits]} bits, errors made up for, groups of {group_size}"
    if symmetric != SYMMETRIC[bits]:
        name += "-sym" if symmetric else "-asym"
        summary += ", no zero point" if symmetric else ", zero points"
    summary += ", columns by activation" * desc_act
    stored = bits + (16 + bits) / group_size
    return GptqPrecision(name, "gptq", stored, summary, bits, group_size, desc_act, symmetric)


class Gptq(CalibratedMethod[GptqPrecision]):
    """gptq-8, gptq-4, gptq-3 and gptq-2."""

    name = "gptq"
    title = "GPTQ"
    takes_adapters = True
    precisions = tuple(gptq_precision(bits) for bits in (8, 4, 3, 2))

    def parse(self, name: str) -> GptqPrecision | None:
        """`gptq-4`; with a group size `gptq-4-g128`, in activation order `-act`, without zero points `-sym`."""
        found = re.fullmatch(r"gptq-(8|4|3|2)(?:-g(\d+))?(-act)?(-a?sym)?", name)
        if found is None:
            return None
        symmetric = None if found[4] is None else found[4] == "-sym"
        return gptq_precision(int(found[1]), group_size(name, found[2]), found[3] is not None, symmetric)

    def group_size(self, precision: GptqPrecision) -> int:
        return precision.group_size

    def options(self, precision: GptqPrecision) -> dict[str, Any]:
        return {
            "bits": precision.weight_bits,
            "group_size": precision.group_size,
            "desc_act": precision.desc_act,
            "sym": precision.symmetric,
        }

    def weight_bytes(self, precision: GptqPrecision, rows: int, columns: int) -> int:
        return sum(_parts(precision, rows, columns).values())

    def grids(self) -> tuple[GptqPrecision, ...]:
        return self.precisions

    def rounded(self, precision: GptqPrecision, matrix: Matrix) -> Rounded:
        from quantlab.methods.gptq.grid import plain

        if (columns := matrix.shape[1]) % precision.group_size:
            raise BadInput(
                f"Rows of {columns:,} numbers do not divide into groups of {precision.group_size}.",
                "Choose another method.",
            )
        parts = _parts(precision, *matrix.shape)
        return plain(matrix, precision.weight_bits, precision.group_size, precision.symmetric, parts)

    def code_bytes(self, precision: GptqPrecision, rows: int, columns: int) -> int:
        return _parts(precision, rows, columns)["codes"]

    def kept_rounded(self, precision: GptqPrecision, folder: Path, matrix: Matrix) -> Rounded | None:
        from quantlab.methods.gptq.grid import kept

        return kept(matrix, self.name, precision.weight_bits, folder, _parts(precision, *matrix.shape))


def _parts(precision: GptqPrecision, rows: int, columns: int) -> dict[str, int]:
    """Bytes of one weight by what they hold: for each group and row a scale of 16 bits and a zero point as wide as a
    code; for each column 32 bits that name its group."""
    groups = columns // precision.group_size
    words, zeros = (rows * count * precision.weight_bits // 8 for count in (columns, groups))
    return {"codes": words, "scales": 2 * rows * groups, "zero points": zeros, "groups": 4 * columns}


def group_size(name: str, typed: str | None) -> int:
    """The group size of a name. Raises BadInput for one that kernels do not take."""
    size = int(typed or GROUP_SIZE)
    if size not in GROUP_SIZES:
        raise BadInput(f"{name}: the group size cannot be {size}.", f"Choose {', '.join(map(str, GROUP_SIZES))}.")
    return size


GPTQ = Gptq()

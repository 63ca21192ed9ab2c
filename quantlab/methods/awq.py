"""AWQ: columns that meet large activations are scaled up before rounding, so that they lose less (arXiv:2306.00978)."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantlab.errors import BadInput
from quantlab.methods.gptq import group_size
from quantlab.methods.gptq.architectures import AWQ_ARCHITECTURES
from quantlab.methods.gptq.shared import GROUP_SIZE, CalibratedMethod
from quantlab.methods.rounded import Matrix, Rounded
from quantlab.records import Precision

BITS = 4
#: AWQ needs the mean size of the activations, which few windows tell (16 where GPTQ takes 192, Lin et al. 2023, section
#: 5.4), and passes each of them through a layer some twenty times.
MOST_SAMPLES, MOST_LENGTH = 16, 512


@dataclass(frozen=True)
class AwqPrecision(Precision):
    """The format knows 4 bits with a zero point for each group."""

    group_size: int = GROUP_SIZE


def awq_precision(group_size: int = GROUP_SIZE) -> AwqPrecision:
    """A precision of this method. A group costs 16 bits for its scale and 4 for its zero point."""
    name = f"awq-{BITS}" + f"-g{group_size}" * (group_size != GROUP_SIZE)
    summary = f"four bits, columns scaled by their activations, groups of {group_size}"
    return AwqPrecision(name, "awq", BITS + (16 + BITS) / group_size, summary, group_size)


class Awq(CalibratedMethod[AwqPrecision]):
    """awq-4."""

    name = "awq"
    title = "AWQ"
    # No adapter lies beside it: what enters its layers is scaled, so an adapter of other weights reads other numbers.
    precisions = (awq_precision(),)
    architectures = AWQ_ARCHITECTURES
    output_multiple = 8
    most_samples, most_length = MOST_SAMPLES, MOST_LENGTH

    def parse(self, name: str) -> AwqPrecision | None:
        """`awq-4`, with a group size `awq-4-g128`."""
        found = re.fullmatch(r"awq-4(?:-g(\d+))?", name)
        return None if found is None else awq_precision(group_size(name, found[1]))

    def group_size(self, precision: AwqPrecision) -> int:
        return precision.group_size

    def options(self, precision: AwqPrecision) -> dict[str, Any]:
        return {"bits": BITS, "group_size": precision.group_size, "sym": False}

    def weight_bytes(self, precision: AwqPrecision, rows: int, columns: int) -> int:
        return sum(_parts(precision, rows, columns).values())

    def code_bytes(self, precision: AwqPrecision, rows: int, columns: int) -> int:
        return _parts(precision, rows, columns)["codes"]

    def grids(self) -> tuple[AwqPrecision, ...]:
        return self.precisions

    def rounded(self, precision: AwqPrecision, matrix: Matrix) -> Rounded:
        from quantlab.methods.gptq.grid import plain

        if (columns := matrix.shape[1]) % precision.group_size:
            raise BadInput(
                f"Rows of {columns:,} numbers do not divide into groups of {precision.group_size}.",
                "Choose another method.",
            )
        return plain(matrix, BITS, precision.group_size, False, _parts(precision, *matrix.shape))

    def kept_rounded(self, precision: AwqPrecision, folder: Path, matrix: Matrix) -> Rounded | None:
        from quantlab.methods.awq_grid import kept

        return kept(matrix, BITS, folder, _parts(precision, *matrix.shape))


def _parts(precision: AwqPrecision, rows: int, columns: int) -> dict[str, int]:
    """Bytes of one weight by what they hold: codes, and for each group and row a scale of 16 bits and a zero point of
    4."""
    groups = columns // precision.group_size
    return {"codes": rows * columns * BITS // 8, "scales": 2 * rows * groups, "zero points": rows * groups * BITS // 8}


AWQ = Awq()

"""Round to nearest: plain integers with a scale and a zero point per group, the baseline for cleverer methods."""

import re
from dataclasses import dataclass
from importlib import import_module

from quantlab.errors import BadInput
from quantlab.methods.rounded import Matrix, Rounded
from quantlab.methods.rtn.layout import GROUP_SIZE, packed_columns, padded
from quantlab.methods.transformers_method import TransformersMethod
from quantlab.records import Model, Precision, Progress, ResolvedPlacement
from quantlab.runtime.session import LoadedModel

_NAMES = {8: "eight", 4: "four", 3: "three", 2: "two"}


@dataclass(frozen=True)
class RtnPrecision(Precision):
    """`weight_bits` are those of one integer; `symmetric` drops the zero point and centres the integers on zero."""

    weight_bits: int
    group_size: int = GROUP_SIZE
    symmetric: bool = False


def rtn_precision(bits: int, group_size: int = GROUP_SIZE, symmetric: bool = False) -> RtnPrecision:
    """A precision of this method. A group costs 16 bits for its scale and 8 for its zero point, if it has one."""
    name = f"rtn-{bits}" + f"-g{group_size}" * (group_size != GROUP_SIZE) + "-sym" * symmetric
    overhead = (16 if symmetric else 24) / group_size
    summary = f"plain rounding to {_NAMES[bits]} bits, groups of {group_size}" + ", no zero point" * symmetric
    return RtnPrecision(name, "rtn", bits + overhead, summary, bits, group_size, symmetric)


def _parts(precision: RtnPrecision, rows: int, columns: int) -> dict[str, int]:
    """Bytes of one quantized weight by what they hold."""
    groups = rows * padded(columns, precision.group_size) // precision.group_size
    codes = rows * packed_columns(columns, precision.weight_bits, precision.group_size)
    return {"codes": codes, "scales": 2 * groups} | ({} if precision.symmetric else {"zero points": groups})


class Rtn(TransformersMethod[RtnPrecision]):
    """rtn-8, rtn-4, rtn-3 and rtn-2, each with a zero point or (-sym) without."""

    name = "rtn"
    title = "Round to nearest"
    quantizes_experts = True
    precisions = (
        *(rtn_precision(bits) for bits in (8, 4, 3, 2)),
        *(rtn_precision(bits, symmetric=True) for bits in (8, 4, 3, 2)),
    )

    def parse(self, name: str) -> RtnPrecision | None:
        """`rtn-4`, with a group size `rtn-4-g128`, without zero points `rtn-4-sym`, or both."""
        found = re.fullmatch(r"rtn-(8|4|3|2)(?:-g(\d+))?(-sym)?", name)
        if found is None:
            return None
        group_size = int(found[2] or GROUP_SIZE)
        if group_size % 8 or not 8 <= group_size <= 1024:
            raise BadInput(f"{name}: the group size cannot be {group_size}.", "Choose a multiple of 8 up to 1024.")
        return rtn_precision(int(found[1]), group_size, found[3] is not None)

    def prepare(self) -> None:
        super().prepare()
        import_module("quantlab.methods.rtn.quantizer")

    def weight_bytes(self, precision: RtnPrecision, rows: int, columns: int) -> int:
        return sum(_parts(precision, rows, columns).values())

    def code_bytes(self, precision: RtnPrecision, rows: int, columns: int) -> int:
        return _parts(precision, rows, columns)["codes"]

    def grids(self) -> tuple[RtnPrecision, ...]:
        return self.precisions

    def rounded(self, precision: RtnPrecision, matrix: Matrix) -> Rounded:
        from quantlab.methods.rtn.grid import grid

        parts = _parts(precision, *matrix.shape)
        return grid(matrix, precision.weight_bits, precision.group_size, precision.symmetric, parts)

    def load(
        self, model: Model, precision: RtnPrecision, placement: ResolvedPlacement, progress: Progress
    ) -> LoadedModel:
        from quantlab.methods import transformers_loading as loading
        from quantlab.methods.rtn.quantizer import RtnConfig

        config = RtnConfig(precision.weight_bits, precision.group_size, precision.symmetric)
        dtype = placement.compute_dtype
        network = loading.load(model, placement, dtype, progress, config)
        return loading.finish(network, placement, dtype, "unpack + torch matmul")


RTN = Rtn()

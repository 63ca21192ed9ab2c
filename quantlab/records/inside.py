"""What lies inside a weight matrix: the levels that its numbers are turned into, and what that costs.

Plain numbers only: what is drawn, printed and written as JSON is made of these.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class InsideRequest:
    """What to look at, as it is typed.

    `layer` empty: the first. `precision` and `beside`: a name of a method's, or plain integers (`plain-4-g64`, see
    `teach.inside.grids`). `block` counts stretches of `shown` numbers along the rows. `values`: numbers to take
    instead of a model's.
    """

    model: str = "demo"
    layer: str = ""
    precision: str = "nf4"
    beside: str = ""
    block: int = 0
    shown: int = 64
    values: str = ""


@dataclass(frozen=True)
class Scale:
    """Numbers `start` to `stop` (exclusive) of those shown, which share one scale, and the levels that it gives them.

    `levels` are sorted; `codes` are those of the levels, in the same order. `zero_point` is in codes; `minimum` is
    added to every level. Both are None where the method has none.
    """

    start: int
    stop: int
    scale: float
    levels: tuple[float, ...]
    codes: tuple[int, ...]
    zero_point: float | None = None
    minimum: float | None = None


@dataclass(frozen=True)
class GridFigures:
    """How a method does on the numbers shown. `refused`: why it has no figures here; `caution`: that
    it is something else than its name says.

    `snr_db`: signal-to-noise ratio, 10 log10 of the sum of squares over the sum of squared errors; None where there is
    no error, or no signal. `code_bits` and `overhead_bits` are those of one weight of the whole matrix.
    """

    name: str
    summary: str
    levels: int = 0
    snr_db: float | None = None
    max_error: float = 0.0
    rms_error: float = 0.0
    code_bits: float = 0.0
    overhead_bits: float = 0.0
    note: str = ""
    caution: str = ""
    refused: str = ""

    @property
    def bits(self) -> float:
        """Bits of one weight, scales and all included."""
        return self.code_bits + self.overhead_bits


@dataclass(frozen=True)
class Grid:
    """What one method makes of the numbers shown: the code of each, what it stands for, and the levels there are.

    `parts`: bytes of the whole matrix by what they hold.
    """

    figures: GridFigures
    codes: tuple[int, ...]
    kept: tuple[float, ...]
    scales: tuple[Scale, ...]
    parts: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.figures.name

    @property
    def levels(self) -> tuple[float, ...]:
        """All levels of the numbers shown, sorted, each once."""
        return tuple(sorted({level for scale in self.scales for level in scale.levels}))


@dataclass(frozen=True)
class Histogram:
    """How many numbers of the whole matrix lie between neighbouring `edges` (one more than `counts`), and how many
    `below` the first and `above` the last."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    below: int = 0
    above: int = 0


@dataclass(frozen=True)
class Inside:
    """Some numbers of one row of a matrix, and what methods make of them.

    `source` names the matrix; `shape` is its own. The numbers begin at `row` and `column`; they are number `block` of
    `blocks` such stretches. `others` are all methods on these numbers, the best signal-to-noise ratio first.
    """

    source: str
    shape: tuple[int, int]
    row: int
    column: int
    block: int
    blocks: int
    values: tuple[float, ...]
    grid: Grid
    histogram: Histogram
    beside: Grid | None = None
    others: tuple[GridFigures, ...] = ()
    caution: str | None = None


@dataclass(frozen=True)
class Product:
    """A corner of one product, step by step: `[tokens][inputs]` activations, `[outputs][inputs]` codes and values.

    The corner begins at `row` and `column` of the weight. `exact` and `computed` are `[tokens][outputs]`: the products
    of the corner with the weights as they are, in float64, and with what the codes stand for, in the type `dtype`.
    """

    row: int
    column: int
    activations: tuple[tuple[float, ...], ...]
    weights: tuple[tuple[float, ...], ...]
    codes: tuple[tuple[int, ...], ...]
    kept: tuple[tuple[float, ...], ...]
    exact: tuple[tuple[float, ...], ...]
    computed: tuple[tuple[float, ...], ...]
    dtype: str


@dataclass(frozen=True)
class Loss:
    """What 8-bit products lose at one spread of the channels: relative errors against the exact product (Frobenius).

    `tensor`: one scale for all activations and one for all weights; `rows`: one for each token and each output
    (LLM.int8 without its outliers); `kept`: the same with the outlier channels in 16 bits.
    """

    sigma: float
    tensor: float
    rows: float
    kept: float
    outliers: int


@dataclass(frozen=True)
class Outliers:
    """The channels that enter one layer, on a real text, and what 8-bit products lose by them.

    `activations` and `weights` are the largest magnitudes of each input channel, at `loss.sigma`; `sigma` is the spread
    that the model has: the standard deviation of the logarithms of its channels' largest activations. `losses` go over
    several spreads; `loss` is the one asked for. `over` are the channels that reach `threshold`.
    """

    source: str
    text: str
    tokens: int
    sigma: float
    activations: tuple[float, ...]
    weights: tuple[float, ...]
    over: tuple[int, ...]
    threshold: float
    loss: Loss
    losses: tuple[Loss, ...]
    product: Product

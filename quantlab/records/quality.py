"""What the missing bits cost, in figures: fidelity to the reference over a text, and accuracy at tasks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from quantlab.records.asked import Calibration, Model, Placement, Request
from quantlab.records.measured import CpuUse, Load, Machine
from quantlab.records.ranges import Amount, Cosine, PercentPoints, Share
from quantlab.shown import Shown

#: The quantiles that a `Spread` names, as shares.
QUANTILES = (0.5, 0.9, 0.99, 0.999)
#: Upper edges of the five buckets of the reference's confidence: the probability of its own likeliest token.
CONFIDENCE = (0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class QualitySettings:
    """How quality is measured. The same for every variant.

    At most `windows` windows of the text are read; `new_tokens` are decoded a few times for the speed, after the
    beginning of the text. `layers` asks for the error of each layer, where a variant's network can be looked into.
    `noise_floor` reads the reference in a second rounding too, which may have to be loaded for it.
    """

    windows: int = 40
    tasks: tuple[str, ...] = ()
    layers: bool = True
    new_tokens: int = 33
    reference: str | None = None
    placement: Placement = field(default_factory=Placement)
    calibration: Calibration = field(default_factory=Calibration)
    noise_floor: bool = True


@dataclass(frozen=True)
class Text:
    """A text to read with every variant. `name` says where it is from; `digest` (sha256) tells two texts apart."""

    name: str
    content: str
    digest: str


@dataclass(frozen=True)
class QualityRequest(Request):
    """One text, and tasks, through each."""

    text: Text
    settings: QualitySettings = field(default_factory=QualitySettings)


@dataclass(frozen=True)
class TextFacts:
    """A text as it was read: its tokens, how many of them were scored, in how many windows of how many tokens."""

    name: str
    digest: str
    tokens: int
    scored: int
    windows: int
    window_tokens: int


@dataclass(frozen=True)
class Spread:
    """Of one figure over the scored tokens: mean with its standard error, quantiles, largest. In nats for a KLD.

    The error is None where all that is left is of one window, so that it is not known.
    """

    mean: Amount
    se: Amount | None
    median: Amount
    p90: Amount
    p99: Amount
    p999: Amount
    max: Amount


@dataclass(frozen=True)
class Bucket:
    """The scored tokens whose reference confidence lies above `low`, up to `high`. None where there are none."""

    low: Share
    high: Share
    tokens: int
    kld: Amount | None
    same_top: Share | None


@dataclass(frozen=True)
class Perplexity:
    """exp(mean negative log-likelihood) with its standard error; the ratio to the reference's with its own, paired.

    The errors are None where they are not known, as in `Spread`.
    """

    value: Amount
    se: Amount | None
    ratio: Amount
    ratio_se: Amount | None


@dataclass(frozen=True)
class Fidelity:
    """How far a variant is from the reference over one text; see docs/measurement.md.

    `same_top` in [0, 1]; `delta_p_mean` and `delta_p_rms` in percent points; `window_kld` the mean KLD of each window,
    for comparing two variants window by window (None: nothing of it is finite). Positions with a figure that is not
    finite are in no mean: `excluded` counts them, `nonfinite` the logits that were infinite or not a number.
    """

    tokens: int
    kld: Spread
    kld_reverse: Spread
    buckets: tuple[Bucket, ...]
    same_top: Share
    same_top_se: Amount | None
    delta_p_mean: PercentPoints
    delta_p_rms: PercentPoints
    ppl: Perplexity
    window_kld: tuple[Amount | None, ...]
    nonfinite: int = 0
    excluded: int = 0


@dataclass(frozen=True)
class TaskScore:
    """Accuracy at one task. Shares in [0, 1]. Flips and p compare with the reference and are None for itself.

    `acc_norm` is None where a task has no endings to choose from. `metric` is the harness's name of what `acc` holds,
    with its filter where it has one. `flips_lost` is the share of items right with the reference and wrong here,
    `flips_won` the other way round; `mcnemar_p` the two-sided exact p-value of McNemar's test on them.
    """

    items: int
    acc: Share
    acc_se: Amount
    acc_norm: Share | None
    acc_norm_se: Amount | None
    flips_lost: Share | None = None
    flips_won: Share | None = None
    mcnemar_p: Share | None = None
    correct: tuple[bool, ...] = ()
    metric: str = "acc"


@dataclass(frozen=True)
class LayerError:
    """Error of one module's output against the reference's, over one window of the text.

    `propagated` is |ours - reference| / |reference| (Frobenius norms), the errors of all modules before it included;
    `cosine` is the mean over the tokens. `isolated` is the relative error that the module's layer makes when it is
    given the reference's input.
    """

    layer: int
    module: str
    propagated: Amount
    cosine: Cosine
    isolated: Amount


@dataclass(frozen=True)
class QualityRun:
    """One variant's figures, or its error. `stopped`: ended before all of them were there.

    `decode_tokens_per_s` is the median of `decode_samples`, the speeds of several answers, in their order. `identity`
    is a digest of the files that all this follows from, the reference's included; empty: not known. `metrics` is the
    version of the definitions that the figures follow (`fidelity.METRICS`); 0: older than that was told. `nonfinite`
    counts the logits that were infinite or not a number where they left no figures at all; else `fidelity` does. `cpu`
    is the processor while those answers were timed; None in what was measured before that was told. `node` as in `Run`.
    """

    precision: str
    error: str | None = None
    advice: str = ""
    load: Load | None = None
    decode_tokens_per_s: Amount | None = None
    score_tokens_per_s: Amount | None = None
    fidelity: Fidelity | None = None
    tasks: Mapping[str, TaskScore] = field(default_factory=dict)
    layers: tuple[LayerError, ...] = ()
    notes: tuple[str, ...] = ()
    stopped: bool = False
    decode_samples: tuple[Amount, ...] = ()
    identity: str = ""
    metrics: int = 0
    nonfinite: int = 0
    cpu: CpuUse | None = None
    node: str = ""


@dataclass(frozen=True)
class Quality(Shown):
    """The quality of several precisions of one model. `noise_floor` is the reference's own rounding noise, or None.

    `floor` says in words what the noise floor is, or why there is none.
    """

    model: Model
    reference: str
    text: TextFacts
    settings: QualitySettings
    machine: Machine
    versions: Mapping[str, str]
    noise_floor: Fidelity | None
    floor: str
    runs: tuple[QualityRun, ...]
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that were measured, of which a group that was asked for may be several; else those asked for."""
        return tuple(dict.fromkeys(name for run in self.runs for name in run.tasks)) or self.settings.tasks

    def run(self, precision: str) -> QualityRun:
        """The run of one precision. Raises KeyError where there is none."""
        for run in self.runs:
            if run.precision == precision:
                return run
        raise KeyError(precision)

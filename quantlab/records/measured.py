"""What was measured: runs, their loads and times, and the comparison they make up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Literal

from quantlab.records.asked import Model, Settings
from quantlab.records.ranges import Amount, Share
from quantlab.records.served import Served
from quantlab.shown import Shown

LoadOrigin = Literal["built", "disk", "memory"]

#: The names under which `stored_bytes` is split; see docs/measurement.md.
PARTS = ("embeddings", "attention", "mlp", "norms", "output_head", "quantization", "other")


@dataclass(frozen=True)
class Candidate:
    """One token among the most likely ones at a position."""

    token_id: int
    text: str
    probability: Share


@dataclass(frozen=True)
class Divergence:
    """Where a run's tokens first differ from the reference's, and the five likeliest tokens of both there."""

    index: int
    ours: tuple[Candidate, ...]
    reference: tuple[Candidate, ...]


@dataclass(frozen=True)
class TokenDifference:
    """One position of the reference's answer, read by this variant and by the reference (teacher-forced).

    `probability` is what each gives to the token that follows; `same_top` whether both have the same most likely
    token; `rank` the place (1 is best) of this variant's most likely token in the reference's order; `kld` in nats.
    `ours` and `theirs` are the likeliest tokens there of this variant and of the reference, best first.
    """

    token: str
    probability: Share
    reference_probability: Share
    same_top: bool
    rank: int
    kld: Amount
    ours: tuple[Candidate, ...] = ()
    theirs: tuple[Candidate, ...] = ()


@dataclass(frozen=True)
class Peak:
    """Most memory in use while one prompt ran, each over all devices of its kind.

    `allocated`, `reserved` and `process` are CUDA's, of torch's own memory; the first is exact. `device` stands in for
    them where a back end takes memory that torch does not see: by NVML, an estimate, as `resident` (CPU) is.
    """

    resident: int | None = None
    allocated: int | None = None
    reserved: int | None = None
    process: int | None = None
    device: int | None = None

    @property
    def bytes(self) -> int | None:
        """The one figure to show: what was allocated, or grew, on the GPUs, and on the CPU where layers lie there."""
        known = [part for part in (self.allocated, self.device, self.resident) if part is not None]
        return sum(known) if known else None

    @property
    def estimate(self) -> bool:
        return self.allocated is None or self.resident is not None or self.device is not None


@dataclass(frozen=True)
class Load:
    """What loading a variant gave: its time, origin and bytes. `parts` add up to `stored_bytes`.

    `mapped_bytes` of the running ones are a file's pages (GGUF), the others anonymous memory.
    `build_s` is how long it took to quantize, for a variant kept on disk (it was built now or earlier, see
    `load_origin`); None where loading quantizes. `details` says what was really stored: file, revision, group size,
    tensor types.
    """

    load_s: Amount
    load_origin: LoadOrigin
    stored_bytes: int
    running_bytes: int
    parts: Mapping[str, int]
    bits_per_weight: Amount
    bits_per_quantized_weight: Amount | None
    compute_dtype: str
    kernel: str
    device_map: Mapping[str, str]
    notes: tuple[str, ...] = ()
    mapped_bytes: int = 0
    build_s: Amount | None = None
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def took_s(self) -> float | None:
        """Seconds of loading; None where nothing was loaded because it was in memory already."""
        return None if self.load_origin == "memory" else self.load_s


@dataclass(frozen=True)
class Timing:
    """Raw samples of one run; see docs/measurement.md. `warmup_ttft_s` is the first pass, which counts for nothing."""

    warmup_ttft_s: Amount | None
    ttft_s: Amount
    itl_s: tuple[Amount, ...]
    prompt_tokens: int

    @property
    def decode_tokens_per_s(self) -> float | None:
        """(n - 1) / (time of last token - time of first token)."""
        took = sum(self.itl_s)
        return len(self.itl_s) / took if took else None

    @property
    def prefill_tokens_per_s(self) -> float:
        return self.prompt_tokens / self.ttft_s


@dataclass(frozen=True)
class CpuUse:
    """The processor while answers were timed, all of a column together, in seconds.

    `wall_s` by the clock, `own_s` of this process with all its threads, `others_s` of everything else on the `cores`
    that it may use (None: the system does not tell). `threads` are those that compute; `load` is the load average of
    the last minute, this process included.
    """

    wall_s: Amount
    own_s: Amount
    others_s: Amount | None
    cores: int
    threads: int
    load: Amount | None = None

    def __add__(self, other: "CpuUse") -> "CpuUse":
        loads = [load for load in (self.load, other.load) if load is not None]
        ours, theirs = self.others_s, other.others_s
        return CpuUse(
            self.wall_s + other.wall_s,
            self.own_s + other.own_s,
            None if ours is None or theirs is None else ours + theirs,
            other.cores,
            other.threads,
            max(loads, default=None),
        )


def why_not_finite(compute_dtype: str) -> str:
    """What makes logits infinite or not a number, and what to do."""
    if compute_dtype == "float16":
        return (
            "float16 ends at 65,504, and large activations overflow it: take bf16 or fp32. If they give no numbers "
            "either, the weights are damaged."
        )
    return (
        "The weights hold such values themselves or are damaged: copy the files again. If another precision of the "
        "same files gives numbers, this one's arithmetic overflowed."
    )


@dataclass(frozen=True)
class Run:
    """One variant's answer to one prompt with its measurements, or its error.

    `token_ids`, `tokens` and `text` end at end-of-text; `timing` covers every token that was computed. Where
    `timings_count` is False (a race), the times were spoilt by other variants. `stopped` marks a partial answer.
    `identity` is a digest of the files that all this follows from, the reference's included; empty: not known.
    `metrics` is the version of the definitions that the figures follow (`fidelity.METRICS`); 0: before it was told.
    `ttft_samples` and `decode_samples` are of every answer that was timed, the shown one first, whose own `timing` is;
    `cpu` is the processor meanwhile. All three are empty in what was measured before answers were timed again. `node`
    is the machine of a cluster that it ran on, by its host name; empty: the one that the comparison names.
    `served` is the server that answered, None where the variant ran here; then there is no load and no memory.
    """

    precision: str
    error: str | None = None
    advice: str = ""
    text: str = ""
    token_ids: tuple[int, ...] = ()
    tokens: tuple[str, ...] = ()
    load: Load | None = None
    timing: Timing | None = None
    peak: Peak | None = None
    kv_cache_bytes: int | None = None
    bandwidth_share: Amount | None = None
    nonfinite: int = 0
    first_divergence: Divergence | None = None
    differences: tuple[TokenDifference, ...] = ()
    timings_count: bool = True
    stopped: bool = False
    identity: str = ""
    metrics: int = 0
    ttft_samples: tuple[Amount, ...] = ()
    decode_samples: tuple[Amount, ...] = ()
    cpu: CpuUse | None = None
    node: str = ""
    served: Served | None = None

    @property
    def ttft_s(self) -> float | None:
        """The median over the answers that were timed."""
        if self.ttft_samples:
            return median(self.ttft_samples)
        return self.timing.ttft_s if self.timing else None

    @property
    def decode_tokens_per_s(self) -> float | None:
        """The median over the answers that were timed."""
        if self.decode_samples:
            return median(self.decode_samples)
        return self.timing.decode_tokens_per_s if self.timing else None

    @property
    def caution(self) -> str | None:
        """Why its figures mean nothing, where logits were no numbers."""
        if not self.nonfinite:
            return None
        cause = why_not_finite(self.load.compute_dtype if self.load else "")
        return (
            f"{self.nonfinite:,} of its logits were infinite or not a number, so that its figures mean nothing. {cause}"
        )


@dataclass(frozen=True)
class Machine:
    """What the figures were measured on. Bandwidth in bytes per second, read once per process; None if not measured."""

    cpu: str
    cores: int
    memory_bytes: int
    device: str
    device_memory_bytes: int
    system: str
    bandwidth: Amount | None


@dataclass(frozen=True)
class Comparison(Shown):
    """The runs for one prompt, with the machine and the versions they ran on."""

    model: Model
    prompt: str
    prompt_token_ids: tuple[int, ...]
    prompt_tokens: tuple[str, ...]
    reference: str
    settings: Settings
    machine: Machine
    versions: Mapping[str, str]
    runs: tuple[Run, ...]
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    def run(self, precision: str) -> Run:
        """The run of one precision. Raises KeyError where there is none."""
        for run in self.runs:
            if run.precision == precision:
                return run
        raise KeyError(precision)

"""A sweep: many models at many precisions over many texts and prompts, what it asks for, tells and gives."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from quantlab.records.measured import Machine

#: How a cell came to its end.
Outcome = Literal["done", "failed", "stopped"]
#: What the value of a front is.
Measure = Literal["mean KLD", "perplexity", "accuracy"]


@dataclass(frozen=True)
class SweepAsked:
    """A sweep's file, read and checked. `windows`, `layers`, `noise_floor` as in `QualitySettings`."""

    file: Path
    models: tuple[str, ...]
    precisions: tuple[str, ...]
    texts: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    windows: int = 8
    max_new_tokens: int = 32
    layers: bool = False
    noise_floor: bool = True
    reference: str | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Place:
    """Where a cell is: one model at one precision over one text, or after one prompt."""

    model: str
    precision: str
    kind: Literal["text", "prompt"]
    read: str


@dataclass(frozen=True)
class Cell:
    """What came of one cell. `entry` is its id in the sweep's history; None where its job could not begin.

    Bytes are of the stored weights, speeds the median of several answers in tokens/s, `kld` in nats a token with its
    standard error. `read_as` tells which tokens a perplexity is of: it is compared with those of the same ones alone.
    `same_answer` says of a prompt whether the answer is the reference's, None for the reference.
    """

    place: Place
    outcome: Outcome
    error: str = ""
    advice: str = ""
    entry: int | None = None
    reference: bool = False
    stored_bytes: int | None = None
    decode_tokens_per_s: float | None = None
    speed_doubt: str = ""
    kld: float | None = None
    kld_se: float | None = None
    noise_floor: float | None = None
    same_top: float | None = None
    perplexity: float | None = None
    perplexity_se: float | None = None
    read_as: str = ""
    accuracy: Mapping[str, float] = field(default_factory=dict)
    accuracy_se: Mapping[str, float] = field(default_factory=dict)
    same_answer: bool | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FrontPoint:
    """One model at one precision on a map: what it costs in stored bytes and what it gives, with its error."""

    model: str
    precision: str
    stored_bytes: int
    value: float
    se: float | None
    on_front: bool


@dataclass(frozen=True)
class Front:
    """A Pareto front by stored bytes. `of` is the text or the task, `among` the models that it is over, in words."""

    measure: Measure
    of: str
    among: str
    points: tuple[FrontPoint, ...]


@dataclass(frozen=True)
class Sweep:
    """A sweep as far as it came. `missing` counts the cells that were not measured yet."""

    name: str
    asked: SweepAsked
    machine: Machine
    versions: Mapping[str, str]
    cells: tuple[Cell, ...]
    fronts: tuple[Front, ...]
    missing: int = 0
    written: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class SweepStarted:
    """How many cells each model has, and how many of them are there from earlier."""

    cells: Mapping[str, int]
    earlier: Mapping[str, int]


@dataclass(frozen=True)
class CellBegun:
    """What is under way: a step of a cell, such as "loading"."""

    place: Place
    what: str


@dataclass(frozen=True)
class CellEnded:
    """`earlier`: it was there already, and is told again by a job that is gone on with."""

    place: Place
    outcome: Outcome
    error: str = ""
    earlier: bool = False


@dataclass(frozen=True)
class CellTold:
    """A warning of a job that goes on, in words."""

    model: str
    why: str


SweepEvent = SweepStarted | CellBegun | CellEnded | CellTold
SweepEvents = Generator[SweepEvent, None, None]

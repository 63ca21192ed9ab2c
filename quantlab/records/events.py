"""The events of a comparison and of a quality run, in the order in which `compare()` and `quality()` yield them.

Every consumer sees the same ones.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

from quantlab.records import Comparison, Load, Model, Quality, QualityRun, Run, TextFacts
from quantlab.shown import Shown


@dataclass(frozen=True)
class Started:
    """The prompt is read and the columns are known, in the order in which they will run (the reference first)."""

    precisions: tuple[str, ...]
    reference: str
    prompt_token_ids: tuple[int, ...]
    prompt_tokens: tuple[str, ...]
    model: Model


@dataclass(frozen=True)
class Loading:
    """A variant is being loaded: `done` of `total` tensors (total 0 while unknown)."""

    precision: str
    done: int
    total: int
    what: str


@dataclass(frozen=True)
class Loaded:
    precision: str
    load: Load


@dataclass(frozen=True)
class Token:
    """A new token. `text` is the whole answer so far, `index` counts the new tokens from 0."""

    precision: str
    index: int
    token_id: int
    text: str


@dataclass(frozen=True)
class TimingAgain:
    """The answer is whole, and is repeated for its speed: so many have been timed, the shown one counted."""

    precision: str
    answers: int


@dataclass(frozen=True)
class Finished:
    """A variant's run is complete, has failed or was stopped."""

    run: Run


@dataclass(frozen=True)
class Done(Shown):
    """The end. `replayed`: nothing ran, the comparison was known from an earlier time."""

    comparison: Comparison
    replayed: bool = False


@dataclass(frozen=True)
class NotKept:
    """From here on the history keeps nothing of this work, which goes on. `why` in words."""

    why: str


@dataclass(frozen=True)
class ReferenceMoved:
    """From here on `precision` is the reference: the one before was not asked for, and `why` it is none, in words."""

    precision: str
    why: str


@dataclass(frozen=True)
class TriedAgain:
    """A column begins anew, once: what ran it ended before it did. `why` in words."""

    precision: str
    why: str


Event = Started | Loading | Loaded | Token | TimingAgain | Finished | Done | NotKept | ReferenceMoved | TriedAgain
#: What gives them; closing it ends the work.
Events = Generator[Event, None, None]

#: What is measured of one variant, one after the other; `again` is its speed, when all variants have had their turn.
Stage = Literal["speed", "text", "tasks", "layers", "again"]


@dataclass(frozen=True)
class QualityStarted:
    """The text is read and the columns are known, in the order in which they will run (the reference first)."""

    precisions: tuple[str, ...]
    reference: str
    text: TextFacts
    model: Model


@dataclass(frozen=True)
class Measuring:
    """A figure of a variant is being measured: `done` of `total` steps, `left_s` seconds to go, None while unknown."""

    precision: str
    stage: Stage
    done: int
    total: int
    what: str
    left_s: float | None


@dataclass(frozen=True)
class Measured:
    """A variant's figures are complete, it has failed or was stopped. It comes again with a speed of more answers."""

    run: QualityRun


@dataclass(frozen=True)
class QualityDone(Shown):
    quality: Quality


QualityEvent = (
    QualityStarted | Loading | Loaded | Measuring | Measured | QualityDone | NotKept | ReferenceMoved | TriedAgain
)
QualityEvents = Generator[QualityEvent, None, None]

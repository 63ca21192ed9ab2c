"""What the page needs from the layers below, as callables, so that the page runs as well on other ones in its tests."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as StopEvent
from typing import TYPE_CHECKING, Protocol

from quantlab.errors import BadInput
from quantlab.records import (
    Card,
    Comparison,
    ComparisonRequest,
    Estimate,
    ModelFacts,
    ModelNumbers,
    Placement,
    Plan,
    QualityRequest,
    Settings,
    Suited,
)
from quantlab.records.claims import Claims
from quantlab.records.events import Event, Events, QualityEvent, QualityEvents
from quantlab.records.finetuning import FinetuneSettings, TrainingEvent
from quantlab.records.inside import Inside, InsideRequest, Outliers
from quantlab.records.pitfalls import Pitfall
from quantlab.settings import AppSettings
from quantlab.teach.classroom import Classroom
from quantlab.teach.lessons import observing
from quantlab.teach.lessons.acted import Acted
from quantlab.teach.lessons.observing import Observed
from quantlab.teach.plan import planning
from quantlab.teach.plan.asked import Asked
from quantlab.teach.quiz.questions import Question, bundled
from quantlab.ui.turns.turns import Turns

if TYPE_CHECKING:
    from quantlab.checkpoints.export import Saved
    from quantlab.finetune.preview import Preview
    from quantlab.history import History
    from quantlab.ui.turns.replays import Answered


class Compare(Protocol):
    """One prompt through several precisions; see `quantlab.runs.recorded.recorded_compare`."""

    def __call__(self, request: ComparisonRequest, *, stop: StopEvent | None = None, fresh: bool = False) -> Events: ...


class Measure(Protocol):
    """One text, and tasks, through several precisions; see `quantlab.runs.recorded.recorded_quality`."""

    def __call__(self, request: QualityRequest, *, stop: StopEvent | None = None) -> QualityEvents: ...


class Quantize(Protocol):
    """One model at one precision, written to the folder `out`; see `quantlab.checkpoints.export.quantize`."""

    def __call__(
        self, model: str, precision: str, out: str, settings: Settings, stop: StopEvent
    ) -> "Generator[tuple[int, int, str], None, Saved]": ...


class LookInside(Protocol):
    """A weight matrix laid open; see `quantlab.teach.inside`."""

    def layers(self, model: str) -> tuple[str, ...]: ...

    def look(self, request: InsideRequest, others: bool) -> Inside: ...

    def outliers(self, request: InsideRequest, sigma: float | None) -> Outliers: ...


class TestClaims(Protocol):
    """Claims judged on this machine, those numbered in `only` or all; see `quantlab.teach.claims.measuring.claims`."""

    def __call__(
        self, model: str, only: tuple[int, ...], stop: StopEvent
    ) -> Generator[tuple[int, int, str], None, Claims]: ...


class Finetune(Protocol):
    """Adapters trained for a model on rows, into a folder; see `quantlab.finetune.job.finetune`."""

    def __call__(
        self, model: str, data: str, folder: Path, asked: FinetuneSettings, stop: StopEvent
    ) -> Generator[TrainingEvent, None, None]: ...


class TeachLessons(Protocol):
    """What the lessons show; see `quantlab.teach.lessons.observing`, which is one."""

    def given(self, number: int) -> Mapping[str, str]: ...

    def runs(self, number: int) -> bool: ...

    def request(self, number: int, acted: Acted) -> ComparisonRequest: ...

    def observe(self, number: int, acted: Acted) -> Observed: ...

    def of_run(self, number: int, record: Comparison, acted: Acted) -> Observed: ...


class Resume(Protocol):
    """Goes on with an entry of the history; see `quantlab.runs.recorded.resumed`."""

    def __call__(self, entry: int, stop: StopEvent) -> Generator[Event | QualityEvent, None, None]: ...


class MakePlan(Protocol):
    """What a model would take on each card; see `quantlab.teach.plan.planning.planned`."""

    def __call__(self, model: str | ModelNumbers, asked: Asked, cards: Sequence[Card], app: AppSettings) -> Plan: ...


class WhichFit(Protocol):
    """For each model the most bits that fit a card; see `quantlab.teach.plan.planning.suited`."""

    def __call__(
        self, models: Sequence[str | ModelNumbers], asked: Asked, card: Card, app: AppSettings
    ) -> tuple[Suited, ...]: ...


def nothing_kept() -> "History | None":
    """The history of a page that keeps nothing."""
    return None


def nothing_made(comparison: Comparison) -> Question:
    """`Services.make_question` of a page whose quiz is as it came."""
    raise BadInput("No questions can be made on this page.")


def nothing_looked_up(name: str) -> ModelFacts:
    """`Services.facts` of a page whose models are those of its list."""
    return ModelFacts()


def no_classes() -> Classroom | None:
    """The classes of a page that has none."""
    return None


def nothing_to_resume(entry: int, stop: StopEvent) -> Generator[Event | QualityEvent, None, None]:
    """`Services.resume` of such a page."""
    yield from ()


def nothing_claimed(
    model: str, only: tuple[int, ...], stop: StopEvent
) -> Generator[tuple[int, int, str], None, Claims]:
    """`Services.claims` of a page that measures nothing."""
    yield 0, 0, ""
    raise BadInput("No claims can be tested on this page.")


def nothing_trained(
    model: str, data: str, folder: Path, asked: FinetuneSettings, stop: StopEvent
) -> Generator[TrainingEvent, None, None]:
    """`Services.finetune` of a page that trains nothing."""
    yield from ()
    raise BadInput("No model can be fine-tuned on this page.")


def no_rows(model: str, data: str, asked: FinetuneSettings) -> "Preview":
    """`Services.preview_rows` of such a page."""
    raise BadInput("No rows can be shown on this page.")


def nothing_answered(request: ComparisonRequest) -> "Answered":
    """`Services.answered` of a page that keeps no answers."""
    return lambda: None


def nothing_diagnosed(model: str | None, device: str, app: AppSettings) -> tuple[Pitfall, ...]:
    """`Services.diagnose` of a page that looks at no machine."""
    raise BadInput("No machine can be looked at on this page.")


class NothingInside:
    """`Services.inside` of a page that has no models of its own."""

    def layers(self, model: str) -> tuple[str, ...]:
        raise BadInput("No matrix can be looked into on this page.")

    def look(self, request: InsideRequest, others: bool) -> Inside:
        raise BadInput("No matrix can be looked into on this page.")

    def outliers(self, request: InsideRequest, sigma: float | None) -> Outliers:
        raise BadInput("No matrix can be looked into on this page.")


@dataclass(frozen=True)
class Services:
    """`estimates(model name, placement)` says what can run before anything loads; `choices()` lists the models to
    pick from as (name, kind, description); `estimate_precision(model name, precision, placement)` does the same for one
    with options in its name; `estimate_published(spec, placement)` says what a checkpoint that somebody
    published would take, under the name of its column; `facts(model name)` is what `estimates` read of a model last,
    and asks no network; `no_tasks()` says why no task can be measured here, empty
    where they can; `history()` is where runs are kept, None where they are not; `plan` and `which_fit` look at a
    model's description alone; `inside` lays a weight matrix open, `claims` tests what is said of quantization,
    `diagnose(model name, device, settings)` looks for pitfalls; `lessons` has what the lessons show, and `unkept` is
    a `compare` that no history keeps, None where `compare` is one; `quiz()` gives the questions of the quiz,
    `make_question` adds a comparison's, `classroom()` the classes whose votes are counted, None where there are none.
    `finetune` trains adapters, `preview_rows(model name, data, settings)` shows how rows are read for it.
    `turns` says when whatever uses the machine may begin; `answered(request)` tells what was answered before and needs
    no turn.
    All raise QuantlabError for what a user can mend."""

    compare: Compare
    estimates: Callable[[str, Placement], tuple[Estimate, ...]]
    choices: Callable[[], tuple[tuple[str, str, str], ...]]
    estimate_precision: Callable[[str, str, Placement], Estimate]
    estimate_published: Callable[[str, Placement], Estimate]
    quantize: Quantize
    quality: Measure
    no_tasks: Callable[[], str]
    history: Callable[[], "History | None"] = nothing_kept
    resume: Resume = nothing_to_resume
    plan: MakePlan = planning.planned
    which_fit: WhichFit = planning.suited
    inside: LookInside = field(default_factory=NothingInside)
    claims: TestClaims = nothing_claimed
    quiz: Callable[[], tuple[Question, ...]] = bundled
    make_question: Callable[[Comparison], Question] = nothing_made
    classroom: Callable[[], Classroom | None] = no_classes
    lessons: TeachLessons = observing
    unkept: Compare | None = None
    finetune: Finetune = nothing_trained
    preview_rows: "Callable[[str, str, FinetuneSettings], Preview]" = no_rows
    diagnose: Callable[[str | None, str, AppSettings], tuple[Pitfall, ...]] = nothing_diagnosed
    facts: Callable[[str], ModelFacts] = nothing_looked_up
    turns: Turns = field(default_factory=Turns)
    answered: Callable[[ComparisonRequest], "Answered"] = nothing_answered

"""What the quality tab shows while a run goes on: events folded into frozen rows. No gradio, no HTML."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from quantlab.records import Load, Model, Quality, QualityRun, TextFacts, events
from quantlab.ui.common.notices import fold_common
from quantlab.ui.common.problem import Problem
from quantlab.ui.turns.turns import Place

State = Literal["waiting", "loading", "measuring", "done", "failed", "stopped"]
ENDED = ("done", "failed", "stopped")


@dataclass(frozen=True)
class Variant:
    """One precision's row. `took_s` is how long it took, in seconds, once it has ended."""

    precision: str
    state: State = "waiting"
    load: Load | None = None
    run: QualityRun | None = None
    took_s: float | None = None


@dataclass(frozen=True)
class Step:
    """What goes on: `done` of `total` (0 while unknown). An empty `precision` is the model that is fetched."""

    precision: str
    stage: events.Stage | Literal["loading"]
    done: int = 0
    total: int = 0
    what: str = ""
    left_s: float | None = None


@dataclass(frozen=True)
class QualityView:
    """Everything that the tab's results are drawn from.

    `tasks` are those that were asked for. `at` is the clock in seconds when it was made, `since` when the row that is
    measured now began. `notice` is a remark on the whole run. `over`: it has ended, or is awaited no longer. `place`:
    there it waits for its turn, and nothing else has changed; `left`: it was called off before that.
    """

    variants: tuple[Variant, ...] = ()
    reference: str = ""
    tasks: tuple[str, ...] = ()
    text: TextFacts | None = None
    model: Model | None = None
    step: Step | None = None
    quality: Quality | None = None
    problem: Problem | None = None
    notice: str = ""
    at: float = 0.0
    since: float = 0.0
    over: bool = False
    place: Place | None = None
    left: bool = False

    @property
    def ended(self) -> tuple[Variant, ...]:
        return tuple(one for one in self.variants if one.state in ENDED)

    @property
    def left_s(self) -> float | None:
        """Seconds to the end of the run by the pace of the variants that have ended; None before the first has."""
        took = [one.took_s for one in self.ended if one.took_s is not None]
        waiting = len(self.variants) - len(self.ended)
        if not took or not waiting:
            return None
        pace = sum(took) / len(took)
        step = (self.step.left_s or 0.0) if self.step else 0.0
        return max(pace - (self.at - self.since), step, 0.0) + pace * (waiting - 1)


def fold(view: QualityView, event: events.QualityEvent, at: float) -> QualityView:
    """The view after one more event at the clock `at`, in seconds. Raises TypeError for an event it does not know."""
    view = replace(view, at=at)
    match event:
        case events.QualityStarted():
            variants = tuple(map(Variant, event.precisions))
            return replace(
                view, variants=variants, reference=event.reference, text=event.text, model=event.model, step=None,
                since=at,
            )  # fmt: skip
        case events.Loading():
            step = Step(event.precision, "loading", event.done, event.total, event.what)
            # The noise floor is read between two rows: it is not the second one's time.
            begins = any(one.precision == event.precision and one.state == "waiting" for one in view.variants)
            view = replace(view, step=step, since=at if begins else view.since)
            return _with(view, event.precision, state="loading")
        case events.Loaded():
            return _with(view, event.precision, state="measuring", load=event.load)
        case events.Measuring(stage="again"):
            return replace(view, step=Step(event.precision, event.stage, event.done, event.total, event.what))
        case events.Measuring():
            step = Step(event.precision, event.stage, event.done, event.total, event.what, event.left_s)
            return _with(replace(view, step=step), event.precision, state="measuring")
        case events.Measured():
            took = None if event.run.stopped else at - view.since
            before = next((it.took_s for it in view.ended if it.precision == event.run.precision), None)
            if before is not None:  # timed again: it had taken its time already
                return _finish(replace(view, step=None, since=at), event.run, took_s=before)
            return _finish(replace(view, step=None, since=at), event.run, took_s=took)
        case events.QualityDone():
            for run in event.quality.runs:
                view = _finish(view, run)
            done = event.quality
            return replace(view, quality=done, reference=done.reference, text=done.text, model=done.model, step=None)
        case _:
            return fold_common(view, event)


def halt(view: QualityView, problem: Problem | None = None) -> QualityView:
    """The view of a run that ended, early or not: what has not ended is stopped."""
    variants = tuple(one if one.state in ENDED else replace(one, state="stopped") for one in view.variants)
    return replace(view, variants=variants, step=None, problem=problem, over=True)


def _finish(view: QualityView, run: QualityRun, **more: Any) -> QualityView:
    state: State = "failed" if run.error is not None else "stopped" if run.stopped else "done"
    load: dict[str, Any] = {"load": run.load} if run.load is not None else {}
    return _with(view, run.precision, state=state, run=run, **load, **more)


def _with(view: QualityView, precision: str, **changes: Any) -> QualityView:
    """The reference's other rounding, read for the noise floor alone, has no row and changes none."""
    variants = tuple(replace(one, **changes) if one.precision == precision else one for one in view.variants)
    return replace(view, variants=variants)

"""What the page shows while a comparison runs: events folded into frozen columns. No gradio, no HTML."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from quantlab.records import Comparison, Load, Model, Run, events
from quantlab.ui.common.notices import fold_common
from quantlab.ui.common.problem import Problem
from quantlab.ui.turns.turns import Place

State = Literal["waiting", "loading", "warming", "writing", "timing", "done", "failed", "stopped"]
ACTIVE = ("loading", "warming", "writing", "timing")
ENDED = ("done", "failed", "stopped")


@dataclass(frozen=True)
class Column:
    """One precision's column: `done` of `total` tensors loaded (total 0 while unknown), `tokens` new ones so far."""

    precision: str
    state: State = "waiting"
    done: int = 0
    total: int = 0
    what: str = ""
    load: Load | None = None
    text: str = ""
    tokens: int = 0
    run: Run | None = None


@dataclass(frozen=True)
class View:
    """Everything that the result's part of the page is drawn from.

    `notice` is a remark on the whole comparison. `model` is None until it is known. `replayed`: nothing ran, the
    comparison is one of before. `over`: it has ended, or is told to and awaited no longer. `place`: there it waits for
    its turn, and nothing else has changed; `left`: it was called off before that.
    """

    columns: tuple[Column, ...] = ()
    reference: str = ""
    prompt_token_ids: tuple[int, ...] = ()
    prompt_tokens: tuple[str, ...] = ()
    comparison: Comparison | None = None
    problem: Problem | None = None
    notice: str = ""
    model: Model | None = None
    replayed: bool = False
    over: bool = False
    place: Place | None = None
    left: bool = False

    @property
    def meaningless(self) -> bool:
        """Whether the weights are random."""
        return self.model is not None and self.model.meaningless

    @property
    def active(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.state in ACTIVE)

    @property
    def ended(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.state in ENDED)

    @property
    def reference_run(self) -> Run | None:
        """The reference's run once it has ended without an error."""
        for column in self.columns:
            if column.precision == self.reference and column.run is not None and column.run.error is None:
                return column.run
        return None


def fold(view: View, event: events.Event) -> View:
    """The view after one more event. Raises TypeError for an event it does not know."""
    match event:
        case events.Started():
            return replace(
                view,
                columns=tuple(Column(precision) for precision in event.precisions),
                reference=event.reference,
                prompt_token_ids=event.prompt_token_ids,
                prompt_tokens=event.prompt_tokens,
                model=event.model,
            )
        case events.Loading():
            return _with(view, event.precision, state="loading", done=event.done, total=event.total, what=event.what)
        case events.Loaded():
            return _with(view, event.precision, state="warming", load=event.load)
        case events.Token():
            return _with(view, event.precision, state="writing", text=event.text, tokens=event.index + 1)
        case events.TimingAgain():
            return _with(view, event.precision, state="timing")
        case events.Finished():
            return _finish(view, event.run)
        case events.Done():
            for run in event.comparison.runs:
                view = _finish(view, run)
            known = event.comparison
            return replace(
                view, comparison=known, reference=known.reference, model=known.model, replayed=event.replayed
            )
        case _:
            return fold_common(view, event)


def halt(view: View, problem: Problem | None = None) -> View:
    """The view of a comparison that ended early: what has not ended is stopped."""
    columns = tuple(column if column.state in ENDED else replace(column, state="stopped") for column in view.columns)
    return replace(view, columns=columns, problem=problem, over=True)


def _finish(view: View, run: Run) -> View:
    state: State = "failed" if run.error is not None else "stopped" if run.stopped else "done"
    changes: dict[str, Any] = {"state": state, "run": run, "text": run.text, "tokens": len(run.token_ids)}
    if run.load is not None:
        changes["load"] = run.load
    return _with(view, run.precision, **changes)


def _with(view: View, precision: str, **changes: Any) -> View:
    columns = tuple(replace(column, **changes) if column.precision == precision else column for column in view.columns)
    return replace(view, columns=columns)

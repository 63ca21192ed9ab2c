"""A training as it is watched: what the events say so far, and how it is shown."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from quantlab.finetune.sets import SETS
from quantlab.measure.statistics import median
from quantlab.records import Finetuned, units
from quantlab.records.finetuning import (
    Trained,
    TrainingEvent,
    TrainingPreparing,
    TrainingStarted,
    TrainingStep,
    shortened,
)
from quantlab.reporting.templates import Pieces
from quantlab.settings import AppSettings
from quantlab.ui.turns.turns import rounded, said

if TYPE_CHECKING:
    from quantlab.finetune.preview import Preview

_HTML = Pieces("ui/finetune/fragments.html")
#: Of how many last steps the speed is told.
_LAST = 9
_MEASURED = "this, measured"
_KINDS = {"qlora": "QLoRA", "lora": "LoRA on bf16", "full": "all weights"}


@dataclass(frozen=True)
class Watched:
    """What has come so far. `preparing` is what is done before the next step, `steps` has one entry a step, and one
    more where the rows held out were read; `seconds` since it began."""

    started: TrainingStarted | None = None
    steps: tuple[TrainingStep, ...] = ()
    trained: Trained | None = None
    preparing: TrainingPreparing | None = None
    seconds: float = 0.0

    def with_event(self, event: TrainingEvent) -> "Watched":
        if isinstance(event, TrainingStarted):
            return replace(self, started=event)
        if isinstance(event, TrainingStep):
            return replace(self, steps=(*self.steps, event), preparing=None)
        if isinstance(event, TrainingPreparing):
            return replace(self, preparing=event)
        return replace(self, trained=event)

    @property
    def done(self) -> tuple[TrainingStep, ...]:
        return tuple(step for step in self.steps if step.held_out_loss is None)


def intro(app: AppSettings, allowed: bool) -> str:
    """What the tab is for; on a public page also whether it can be used there, and for how long."""
    return _HTML.intro(app.public, allowed, app.zero_gpu, units.seconds(app.finetune_seconds))


def empty() -> str:
    """What stands there before anything was trained."""
    return _HTML.empty()


def about(data: str) -> str:
    """What the chosen rows are, with questions to ask before and after."""
    known = SETS.get(data)
    return _HTML.about(known.about, known.prompts) if known else _HTML.own()


def status(seen: Watched) -> str:
    """How far it is: step, losses, speed, time left; before the first step what is done, and for how many seconds."""
    done, now = seen.done, seen.preparing
    if now is not None or not done:
        what, when = now.what if now else "starting", "Before it goes on" if done else "Before the first step"
        return _HTML.preparing(when, what, now, f"{seen.seconds:.0f} s", _rows_of(seen))
    last = done[-1]
    seconds = median([step.seconds for step in done[-_LAST:]]) or 0.0
    left = rounded((last.steps - last.step) * seconds)
    held = next((it.held_out_loss for it in reversed(seen.steps) if it.held_out_loss is not None), None)
    told = f"loss {last.loss:.3f}" + ("" if held is None else f", of the rows held out {held:.3f}")
    speed = units.rate(median([step.tokens / step.seconds for step in done[-_LAST:] if step.seconds]))
    return _HTML.progress(
        f"{told} nats; {speed}; {f'about {said(left)} left' if left else 'almost done'}. {_rows_of(seen)}".strip(),
        last.step,
        last.steps,
    )


def _rows_of(seen: Watched) -> str:
    """Which rows the context was too short for."""
    short = shortened(seen.started.data) if seen.started else ()
    return f"Rows: {'; '.join(short)}." if short else ""


def waiting(what: str) -> str:
    """What is said before the first event."""
    return _HTML.progress(what, 0, 0)


def memory(seen: Watched, planned: Mapping[str, Finetuned]) -> dict[str, dict[str, int]]:
    """Bytes by part: this training as measured at its largest step, and others as they are computed."""
    told = [step.memory for step in seen.done if step.memory]
    if not told:
        return {}
    largest = max(told, key=lambda parts: sum(parts.values()))
    found = {_MEASURED: dict(largest)}
    for kind, it in planned.items():
        parts = {"base" if part == "weights" else part: nbytes for part, nbytes in it.parts.items()}
        found[_KINDS[kind]] = parts
    return found


def result(seen: Watched, column: str, prompts: tuple[str, ...]) -> str:
    """What came of it, and what to do with it."""
    trained, started = seen.trained, seen.started
    if trained is None or started is None:
        return ""
    share = started.trainable / started.parameters
    before, after = trained.held_out_before, trained.held_out_after
    return _HTML.result(
        trained, column, prompts, units.size(trained.nbytes), f"{started.trainable:,}", units.percent(share),
        _loss(before), _loss(after), before is not None and after is not None and after > before, _rows_of(seen),
    )  # fmt: skip


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def preview(rows: "Preview") -> str:
    """The first rows, token by token; what is learnt is marked by more than its colour."""
    return _HTML.preview([list(_runs(row)) for row in rows], [sum(it.trained for it in row) for row in rows])


def _runs(row: tuple[Any, ...]) -> Iterator[tuple[str, bool]]:
    """Tokens of one kind that stand together, as one text."""
    text, kind = "", None
    for token in row:
        if kind is not None and token.trained != kind:
            yield text, kind
            text = ""
        text, kind = text + token.text, token.trained
    if kind is not None:
        yield text, kind

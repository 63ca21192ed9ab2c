"""`quantlab finetune` in the terminal."""

import threading
from collections.abc import Generator

from rich.markup import escape

from quantlab.cli.render.progress import Line, interrupt_sets, tell_stage
from quantlab.cli.render.screen import Screen
from quantlab.cli.render.tables import printable
from quantlab.records import units
from quantlab.records.finetuning import (
    Trained,
    TrainingEvent,
    TrainingPreparing,
    TrainingStarted,
    TrainingStep,
    shortened,
)


def follow_training(events: Generator[TrainingEvent, None, None], stop: threading.Event) -> Trained:
    """Show the progress and return what came of it. Ctrl-C sets `stop`. Raises what the job raises."""
    trained = None
    with Line("training") as line, interrupt_sets(stop, line):
        line.tell("training", 0, 0, "starting")
        for event in events:
            if isinstance(event, TrainingPreparing):
                tell_stage(line, "preparing", event.done, event.total, event.what)
            elif isinstance(event, TrainingStarted):
                line.stage(_started(event))
            elif isinstance(event, TrainingStep):
                said = _step(event)
                line.tell("training", event.step, event.steps, said)
                if event.held_out_loss is not None:
                    line.stage(f"step {event.step} of {event.steps}: {said}")
            else:
                trained = event
    if trained is None:
        raise RuntimeError("the training told no end")
    return trained


def _started(event: TrainingStarted) -> str:
    data, share = event.data, event.trainable / event.parameters
    cut = "".join(f"; {it}" for it in shortened(data))
    return (
        f"{units.counted(data.rows, 'row')} ({data.trained_tokens:,} of {data.tokens:,} tokens are learnt), "
        f"{data.held_out} held out{cut}; {event.trainable:,} of {event.parameters:,} parameters are trained "
        f"({units.percent(share)})"
    )


def _step(event: TrainingStep) -> str:
    held = "" if event.held_out_loss is None else f", held out {event.held_out_loss:.3f}"
    speed = units.rate(event.tokens / event.seconds) if event.seconds else units.NONE
    return f"loss {event.loss:.3f}{held} nats, {speed}"


def show_trained(found: Trained, console: Screen | None = None) -> None:
    """Where the adapter is, and what was learnt by the rows that were held out."""
    console = console or Screen()
    how = (
        f"stopped; these are the weights after step {found.steps}, the last that was kept"
        if found.stopped
        else units.counted(found.steps, "step")
    )
    console.print(escape(printable(f"{found.folder}: {units.size(found.nbytes)}, {how}.")), highlight=False)
    if found.held_out_before is not None and found.held_out_after is not None:
        console.print(
            f"Loss of the rows held out: {found.held_out_before:.3f} before, {found.held_out_after:.3f} after, in nats "
            "a token.",
            highlight=False,
        )

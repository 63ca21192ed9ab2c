"""What the events of the tab do."""

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event as StopEvent
from threading import Timer
from typing import Any

import gradio as gr

from quantlab.errors import QuantlabError
from quantlab.finetune.sets import SETS, settings_of
from quantlab.methods.adapters import PLUS
from quantlab.models import SEPARATOR
from quantlab.records import Finetuned, Placement
from quantlab.records.finetuning import FinetuneSettings, TrainingEvent, TrainingPreparing
from quantlab.teach.plan.asked import Asked
from quantlab.ui.common import fragments, precision_list
from quantlab.ui.common.runner import problem_of
from quantlab.ui.common.steps import StepHandlers, Updates
from quantlab.ui.common.stream import Patience
from quantlab.ui.finetune import form, view
from quantlab.ui.finetune.form import FinetuneChoice
from quantlab.ui.finetune.parts import FinetuneParts
from quantlab.ui.finetune.view import Watched
from quantlab.ui.turns.cut_short import with_why

#: Charts are drawn anew no more often than this, in seconds.
_DRAWN_S = 1.0
#: Beside what is measured, what other ways would take.
_WAYS = ("qlora", "lora", "full")


@dataclass(frozen=True)
class _Job:
    """What is trained, once it was checked."""

    model: str
    asked: FinetuneSettings
    folder: Path
    prompts: tuple[str, ...]


class FinetuneHandlers(StepHandlers):
    """Bound to one page's tab."""

    parts: FinetuneParts
    kind = "finetune"
    #: In public its steps are bounded instead: half a training is nothing.
    limited = False
    #: Its process ends at once; then a checkpoint is copied, and it is said what is kept.
    patience_s = 30.0
    stopped = "Stopped before the first checkpoint: nothing is kept."
    lost = "Stopped."
    failed = "a model could not be fine-tuned"

    def chosen(self, data: str) -> Updates:
        """The settings at which the chosen rows are learnt; of one's own file the usual ones."""
        inputs, known = self.parts.inputs, SETS.get(str(data))
        told: FinetuneSettings = known.settings if known else FinetuneSettings()
        updates: Updates = {
            self.parts.about: view.about(str(data)), inputs.file: gr.update(visible=known is None),
            inputs.name: form.free_name(form.named_by(str(data)), self.app),
            inputs.targets: gr.update(value=",".join(told.targets)), self.parts.preview: "",
        }  # fmt: skip
        names = ("precision", "steps", "batch", "learning_rate", "rank", "alpha", "dropout", "context", "held_out")
        updates |= {getattr(inputs, name): gr.update(value=getattr(told, name)) for name in names}
        # Adapters again: the settings of these rows are for them.
        shown = {it: gr.update(visible=True, **updates.get(it, {})) for it in self.parts.of_adapters()}
        updates |= shown | {inputs.method: told.method}
        updates[inputs.precision] = gr.update(choices=list(form.bases(told.method)), value=told.precision)
        return updates | ({inputs.model: known.model} if known else {})

    def method_chosen(self, method: str, data: str) -> Updates:
        """The precisions that the method trains on, and the settings that concern it."""
        told = settings_of(str(data), "full" if method == "full" else "lora")
        low_rank = gr.update(visible=method != "full")
        return {
            self.parts.inputs.precision: gr.update(choices=list(form.bases(told.method)), value=told.precision),
            self.parts.inputs.learning_rate: told.learning_rate,
            **dict.fromkeys(self.parts.of_adapters(), low_rank),
        }

    def begin(self, request: gr.Request) -> Updates:
        # What was shown of the rows may be of other ones by now.
        return super().begin(request) | {self.parts.preview: ""}

    def look(self, *values: Any) -> Updates:
        """The first rows, as the model would read them."""
        try:
            choice = FinetuneChoice(*values)
            data, model = form.data_of(choice, self.app), form.model_of(choice, self.app)
            rows = self.services.preview_rows(model, data, form.settings(choice, self.app))
            return {self.parts.preview: view.preview(rows)}
        except Exception as error:  # a card on the page; of a defect the log has the traceback
            return {self.parts.preview: fragments.problem(problem_of(error, "rows could not be shown"))}

    def run(self, request: gr.Request, *values: Any) -> Iterator[Updates]:
        """Train; yield what changed."""
        choice = FinetuneChoice(*values)
        # Filled by `prepare`, before the first event is awaited.
        job: list[_Job] = []

        def prepare() -> Any:
            asked, model = form.settings(choice, self.app), form.model_of(choice, self.app)
            folder, data = form.folder_of(choice, self.app), form.data_of(choice, self.app)
            job.append(_Job(model, asked, folder, SETS[data].prompts if data in SETS else ()))
            return lambda stop: self._trained(model, data, choice, job, stop)

        named: Updates = {}
        for update in self.follow(request, prepare):
            if isinstance(seen := update.get(_SEEN), Watched):
                # Told once: whoever types the next one meanwhile keeps it.
                first = {} if named else {self.parts.inputs.name: job[0].folder.name}
                named = named or first
                yield first | self._watched(seen, update[_DRAW], job[0])
            else:
                yield update

    def _trained(
        self, model: str, data: str, choice: FinetuneChoice, job: list[_Job], stop: StopEvent
    ) -> Generator[TrainingEvent, None, None]:
        # Somebody else may have trained under that name while this one waited for the turn.
        job[0] = replace(job[0], folder=form.folder_of(choice, self.app))
        # What is there when the time is over is kept, as by Stop.
        over = Timer(self.app.finetune_seconds, stop.set) if self.app.public else None
        if over is not None:
            over.daemon = True
            over.start()
        try:
            yield from self.services.finetune(model, data, job[0].folder, job[0].asked, stop)
        finally:
            if over is not None:
                over.cancel()

    def _steps(self, stream: Iterator[list[Any]], patience: Patience) -> Iterator[Updates]:
        """All that was seen, at the pace of the events."""
        seen, begun, drawn = Watched(), time.monotonic(), 0.0
        told: tuple[int, TrainingPreparing | None, int] = (0, None, 0)
        for batch in stream:
            if patience.lost():
                yield self._shown(fragments.said(with_why(patience.stop, self.lost)))
                return
            events = [it for it in batch if isinstance(it, TrainingEvent)]
            for event in events:
                seen = seen.with_event(event)
            now = time.monotonic()
            seen = replace(seen, seconds=now - begun)
            last, told = told, (len(seen.steps), seen.preparing, int(seen.seconds))
            # What is prepared is told again and again, of which a screen needs what changed, and the seconds.
            if events and (told != last or seen.trained is not None):
                draw = (told[0] > last[0] and now - drawn >= _DRAWN_S) or seen.trained is not None
                drawn = now if draw else drawn
                yield {_SEEN: seen, _DRAW: draw}

    def _watched(self, seen: Watched, draw: bool, job: "_Job") -> Updates:
        parts, running = self.parts, seen.trained is None
        updates = self._shown(view.status(seen) if running else "", running=running)
        if draw and seen.steps:
            updates |= self._charts(seen, job.model, job.asked)
        if seen.trained is not None:
            base, name = job.asked.precision, job.folder.name
            whole = job.asked.method == "full"
            column = f"{job.folder}{SEPARATOR}{base}" if whole else f"{base}{PLUS}{name}"
            updates |= {parts.result: view.result(seen, column, job.prompts)}
            if not seen.trained.stopped:  # one that was stopped goes on under its own name
                updates |= {parts.inputs.name: form.free_name(name, self.app)}
            updates |= self._leading(job.model, base, column, job.prompts)
        return updates

    def _charts(self, seen: Watched, model: str, asked: FinetuneSettings) -> Updates:
        from quantlab.reporting.charts import training  # plotly comes with it

        parts = self.parts
        taken = view.memory(seen, self._planned(model, asked, seen))
        return {
            parts.charts: gr.update(visible=True),
            **parts.losses.filled((training.losses(seen.steps),), (training.loss_table(seen.steps),)),
            **parts.memory.filled((training.memory(taken),), (training.memory_table(taken),)),
        }

    def _planned(self, model: str, asked: FinetuneSettings, seen: Watched) -> Mapping[str, Finetuned]:
        """What other ways to train the same rows would take, as the plan computes it; without any where it cannot."""
        found, context = {}, max((step.longest for step in seen.done), default=0) or asked.context
        for kind in _WAYS:
            wanted = Asked(
                ("bf16",), context, asked.batch, finetune=kind, rank=asked.rank, targets=asked.targets,
                checkpointing=False,
            )  # fmt: skip
            try:
                plan = self.services.plan(model, wanted, (), self.app)
            except QuantlabError:
                continue
            if plan.finetuned is not None:
                found[kind] = plan.finetuned
        return found

    def _leading(self, model: str, base: str, column: str, prompts: tuple[str, ...]) -> Updates:
        """What Compare needs to set the adapter beside its base."""
        placement = Placement(self.app.device or "auto")
        try:
            row = precision_list.look_at(column, model, placement, self.services)
            offered, _ = precision_list.of_model(model, placement, self.app, self.services, (row,))
        except QuantlabError:  # it was removed meanwhile
            return {}
        values = (model, [base, column], offered, "default", prompts[0] if prompts else "")
        return dict(zip(self.parts.led, values, strict=True)) | {self.parts.compare: gr.update(visible=True)}

    def _stopping(self) -> Updates:
        return super()._stopping() | {self.parts.status: fragments.stopping()}

    def _progress(self, done: int, total: int, what: str) -> str:
        return view.waiting(what)

    def _result(self, result: Any) -> Updates:
        return {}

    def _shown(self, status: str, *, running: bool = False) -> Updates:
        parts = self.parts
        begun: Updates = {parts.result: "", parts.compare: gr.update(visible=False)} if running else {}
        return begun | {
            parts.start: gr.update(interactive=not running),
            parts.stop: gr.update(interactive=running),
            parts.status: status,
        }


#: Keys of what `_steps` hands to `run`, which is no component yet.
_SEEN, _DRAW = "seen", "draw"

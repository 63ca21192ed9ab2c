"""The second job: what the missing bits cost in fidelity and at tasks, as a stream of events."""

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar

from quantlab import models
from quantlab.checkpoints.store import identity
from quantlab.errors import BadInput, ModelError, NotFinite, QuantlabError, Stopped
from quantlab.fidelity import METRICS, layers, tasks, texts
from quantlab.fidelity.figures import fidelity
from quantlab.fidelity.reading import read_reference, read_variant
from quantlab.fidelity.reference import Rows, ScoreStore, score_store
from quantlab.fidelity.summary import ROUNDINGS
from quantlab.fidelity.windows import Windows, windows
from quantlab.measure.machine import machine, versions
from quantlab.methods import PRECISIONS
from quantlab.models.architecture import vocabulary_size
from quantlab.models.tokenizer import added_bos, check_ids
from quantlab.records import (
    Fidelity,
    Model,
    Progress,
    Quality,
    QualityRun,
    QualitySettings,
    TaskScore,
    Text,
    why_not_finite,
)
from quantlab.records.events import (
    Measured,
    Measuring,
    QualityDone,
    QualityEvent,
    QualityEvents,
    QualityStarted,
    ReferenceMoved,
    Stage,
)
from quantlab.records.units import size
from quantlab.runs import estimates
from quantlab.runs.generate import Ready
from quantlab.runs.loading import VariantLoader, column_errors, find_entrants, variant_cache
from quantlab.runs.plan import Entrant, Plan, context_length, moved, plan_text, refusal
from quantlab.runs.repeats import counted, first_round, further_rounds, with_more
from quantlab.runtime.background import forward, in_background
from quantlab.runtime.variant_cache import VariantCache
from quantlab.settings import app_settings

T = TypeVar("T")

#: Changes when the same inputs give other log-probabilities.
FORMAT = 2


def quality(
    model: str | Model,
    precisions_asked: Sequence[str],
    text: str | Text,
    settings: QualitySettings | None = None,
    *,
    stop: threading.Event | None = None,
    variants: VariantCache | None = None,
    scores: ScoreStore | None = None,
    known: Mapping[str, QualityRun] | None = None,
    make: "type[QualityJob] | Callable[..., QualityJob] | None" = None,
) -> QualityEvents:
    """Measure one model at several precisions beside the reference: over a text, at tasks, layer by layer.

    `precisions_asked` as in `compare()`. `text` may be the name of one, or a file's (see `fidelity.texts.text`).
    `known` are runs measured earlier in the same way; they are given again instead of being repeated. Yields `Loading`
    with an empty precision while a model is fetched, then `QualityStarted`, for each precision, the reference first,
    `Loading`, `Loaded`, `Measuring` and `Measured`; at last `QualityDone`. A precision that fails is a run with an
    error. Setting `stop`, or closing the generator, ends the work soon; what is finished stays.
    `make` as in `compare()`.

    Raises BadInput, ModelError or Unavailable before `QualityStarted` where nothing can be measured.
    """
    stop = stop or threading.Event()
    settings = settings or QualitySettings()
    if settings.windows < 1:
        raise BadInput("At least one window of the text is needed.", "Raise the number of windows.")
    tasks.check(settings.tasks, bundled_only=app_settings().public)
    text = texts.text(text) if isinstance(text, str) else text
    found, entrants = yield from find_entrants(model, precisions_asked, stop)
    if found.meaningless:
        raise BadInput(
            f"{found.name} has random weights: how far its precisions lie apart says nothing.",
            "Choose a model that was trained; memory and speed are in the comparison.",
        )
    planned = plan_text(found, entrants, text, settings)
    loader = VariantLoader(planned, stop, variants or variant_cache())
    yield from (make or QualityJob)(planned, text, settings, stop, scores or score_store(), loader, known or {}).run()


@dataclass
class QualityJob:
    """One quality run under way, in this process."""

    plan: Plan
    text: Text
    settings: QualitySettings
    stop: threading.Event
    store: ScoreStore
    loader: VariantLoader
    known: Mapping[str, QualityRun]
    runs: dict[str, QualityRun] = field(default_factory=dict)
    rows: Rows | None = None
    floor: Fidelity | None = None
    outputs: layers.Outputs | None = None
    no_floor: str = ""
    no_layers: str = ""
    windows: Windows = field(init=False)

    def run(self) -> QualityEvents:
        plan, started = self.plan, datetime.now(UTC)
        self.begin()
        self.store.check(self.windows.scored, len(plan.prompt_input.tokenizer))
        facts = self.windows.facts(self.text)
        yield QualityStarted(tuple(e.name for e in plan.order), plan.reference.name, facts, plan.model)
        yield from self.columns()
        yield from self._speeds_again()
        yield QualityDone(
            Quality(
                model=plan.model,
                reference=self.plan.reference.name,
                text=facts,
                settings=replace(self.settings, placement=plan.settings.placement),
                machine=machine(self.loader.device),
                versions=versions(),
                noise_floor=self.floor,
                floor=self._describe_floor(),
                runs=tuple(self.runs[entrant.name] for entrant in plan.entrants),
                started=started,
            )
        )

    def begin(self) -> None:
        """Part the text into windows, and look for what is kept of the reference."""
        self.windows = self._windows()
        self.rows = self.store.find(self._key())

    def columns(self) -> QualityEvents:
        """All of them; the runs go into `runs`."""
        plan, waiting = self.plan, list(self._order())
        while waiting:
            entrant = waiting.pop(0)
            if entrant not in plan.entrants and self.rows is None:
                continue  # there is nothing that it would be the noise of
            run = self._known(entrant)
            if run is None:
                run = yield from self.measure(entrant)
            elif entrant is self.plan.reference:
                yield from self._outputs_again(entrant)
            if entrant in plan.entrants:
                self.runs[entrant.name] = run
                yield Measured(run)
            if run.fidelity is not None and entrant.name == self._rounding():
                self.floor = run.fidelity
            if run.nonfinite and entrant is self.plan.reference:
                yield from self._move_on(entrant.name)
                waiting = [it for it in self._order() if it.name not in self.runs]

    def _move_on(self, name: str) -> QualityEvents:
        """Another reference, where this one's logits are no numbers and nobody asked for it."""
        without = {name for name, run in self.runs.items() if run.nonfinite and run.fidelity is None}
        if (found := moved(self.plan, without)) is not None:
            self.plan, self.no_floor = found, ""
            self.rows = self.store.find(self._key())
            why = f"The logits of {name} are no numbers: {found.reference.name} is the reference instead."
            yield ReferenceMoved(found.reference.name, why)

    def _speeds_again(self) -> QualityEvents:
        """More answers of what was measured now and is still in memory."""
        columns = [(it, self.runs[it.name]) for it in self.plan.entrants if it.name in self.runs]
        fresh = [(it, run) for it, run in columns if not run.error and not run.stopped and not self._is_known(it)]
        for event in further_rounds(self.loader, fresh):
            if isinstance(event, Measured):
                self.runs[event.run.precision] = event.run
            yield event

    def _windows(self) -> Windows:
        tokenizer = self.plan.prompt_input.tokenizer
        ids = tokenizer.encode(self.text.content, add_special_tokens=False, verbose=False)
        check_ids(tokenizer, ids, vocabulary_size(models.config(self.plan.model)), "The text")
        return windows(ids, added_bos(tokenizer), context_length(self.plan.model), self.settings.windows)

    def _order(self) -> tuple[Entrant, ...]:
        """The reference, the noise floor's rounding where no column has it, then the other columns."""
        order, rounding = self.plan.order, self._rounding()
        if rounding is None or any(entrant.name == rounding for entrant in order):
            return order
        extra = Entrant(PRECISIONS[rounding], self.plan.model)
        if not self.settings.noise_floor or refusal(extra, self.loader.device):
            return order
        variant, variants = self.plan.variant(extra), self.loader.variants
        needed, free = estimates.estimated_bytes(variant), variants.room(self.loader.device)
        if needed > free and variant not in variants:
            self.no_floor = f"not measured: {rounding} would need {size(needed)}, and {size(free)} are free"
            return order
        return (order[0], extra, *order[1:])

    def _rounding(self) -> str | None:
        reference = self.plan.reference
        return ROUNDINGS.get(reference.name) if reference.model is self.plan.model else None

    def _describe_floor(self) -> str:
        reference, rounding = self.plan.reference.name, self._rounding()
        if self._not_finite():
            return f"there is none: the logits of {reference} are no numbers"
        if rounding is None:
            return f"there is none: {reference} has no second rounding of the same weights"
        if self.floor is None and (self.no_floor or not self.settings.noise_floor):
            return self.no_floor or "not measured: it was switched off"
        if self.floor is None and self.stop.is_set():
            return f"not measured yet: {rounding} was not read before the stop"
        if self.floor is None:
            return f"there is none: {rounding} could not be measured"
        return f"{rounding} beside {reference}: the same weights, rounded otherwise"

    def _not_finite(self) -> bool:
        """Whether nothing can be compared with the reference, since its logits are no numbers."""
        run = self.runs.get(self.plan.reference.name)
        return run is not None and run.fidelity is None and run.nonfinite > 0

    def _known(self, entrant: Entrant) -> QualityRun | None:
        """A run measured earlier; the reference's only where nothing must be read beside it again."""
        known = {it.name for it in self.plan.entrants if self._is_known(it)}
        others = len(known) == len(self.plan.entrants)
        wanted = entrant is not self.plan.reference or self.rows is not None or others
        return self.known[entrant.name] if entrant.name in known and wanted else None

    def _is_known(self, entrant: Entrant) -> bool:
        """Whether it was measured with the files and by the definitions of today; an older version told neither."""
        run = self.known.get(entrant.name)
        if run is None or run.error or run.stopped or run.metrics != METRICS:
            return False
        return run.identity == self.plan.identity(entrant)

    def measure(self, entrant: Entrant) -> Generator[QualityEvent, None, QualityRun]:
        run = QualityRun(entrant.name, identity=self.plan.identity(entrant), metrics=METRICS)
        with ExitStack() as leases:
            try:
                with column_errors(entrant.name):
                    ready = yield from self.loader.ready(entrant, leases)
                    run = replace(run, load=ready.load, notes=ready.load.notes)
                    for stage in (self._speed, self._text, self._tasks, self._layers):
                        if self.stop.is_set():
                            raise Stopped
                        run = yield from stage(entrant, ready, run)
                    run = self._checked(entrant, ready, run)
            except Stopped:
                return replace(run, stopped=True)
            except NotFinite as error:
                why = why_not_finite(run.load.compute_dtype if run.load else "")
                return replace(run, error=error.what, advice=why, nonfinite=error.count)
            except QuantlabError as error:
                return replace(run, error=error.what, advice=error.advice)
        return run

    def _checked(self, entrant: Entrant, ready: Ready, run: QualityRun) -> QualityRun:
        """The same run; without its figures where its files changed under it, and then nothing is kept of them."""
        try:
            self.loader.check_unchanged(entrant, ready)
        except ModelError as error:
            if entrant is self.plan.reference:
                self._forget_rows()
            return QualityRun(
                run.precision, error.what, error.advice, run.load, identity=run.identity, metrics=run.metrics
            )
        return run

    def _forget_rows(self) -> None:
        """Nothing can be compared with what was read of the reference."""
        if self.rows is not None:
            self.rows.file.unlink(missing_ok=True)
        self.rows = self.outputs = None

    def _speed(self, entrant: Entrant, ready: Ready, run: QualityRun) -> Generator[QualityEvent, None, QualityRun]:
        steps = first_round(ready, self.plan.prompt_input, self.loader.device, self.stop)
        return with_more(run, (yield from counted(entrant.name, steps)))

    def _text(self, entrant: Entrant, ready: Ready, run: QualityRun) -> Generator[QualityEvent, None, QualityRun]:
        """Read the text; the reference's log-probabilities are kept unless they are there."""
        is_reference = entrant is self.plan.reference
        if not is_reference and self.rows is None:
            why = "the reference failed, or was stopped"
            if self._not_finite():
                why = f"the logits of the reference, {self.plan.reference.name}, are no numbers"
            return replace(run, notes=(*run.notes, f"no figures of fidelity: {why}"))
        begun = time.perf_counter()

        def read(progress: Progress) -> Fidelity:
            if self.rows is None:
                size = (self.windows, self.store, self._key())
                self.rows, found = read_reference(ready.loaded, *size, progress)
            else:
                found = read_variant(ready.loaded, self.windows, self.rows, progress)
            return fidelity(found, len(self.windows.ids))

        try:
            figures = yield from self._as_events(entrant, "text", read)
        except NotFinite:
            if is_reference:
                self._forget_rows()
            raise
        speed = len(self.windows.ids) * self.windows.size / (time.perf_counter() - begun)
        return replace(run, fidelity=figures, score_tokens_per_s=speed)

    def _tasks(self, entrant: Entrant, ready: Ready, run: QualityRun) -> Generator[QualityEvent, None, QualityRun]:
        if not self.settings.tasks or entrant not in self.plan.entrants:
            return run

        def work(progress: Progress) -> Mapping[str, TaskScore]:
            prompt_input = self.plan.prompt_input
            return tasks.score(
                ready.loaded, prompt_input.tokenizer, self.settings.tasks, progress, ends=tuple(prompt_input.eos_ids)
            )

        scored = yield from self._as_events(entrant, "tasks", work)
        theirs = self.runs.get(self.plan.reference.name)
        if theirs is not None and theirs.tasks:
            scored = {name: tasks.against(score, theirs.tasks[name]) for name, score in scored.items()}
        return replace(run, tasks=scored)

    def _layers(self, entrant: Entrant, ready: Ready, run: QualityRun) -> Generator[QualityEvent, None, QualityRun]:
        network = ready.loaded.network
        if not self.settings.layers or network is None or entrant not in self.plan.entrants:
            return run
        yield Measuring(entrant.name, "layers", 0, 0, "layers", None)
        ids = self.windows.ids[0][: layers.TOKENS]
        if entrant is self.plan.reference:
            self.outputs = layers.outputs(network, ids)
        elif self.outputs is not None:
            return replace(run, layers=layers.errors(network, ids, self.outputs))
        return replace(run, notes=(*run.notes, self.no_layers)) if self.no_layers else run

    def _outputs_again(self, reference: Entrant) -> Generator[QualityEvent, None, None]:
        """What the reference's layers make, where it was measured earlier and others are still to be set beside it.

        Its figures are kept and its rows lie on disk, but not the outputs of its modules. Where it cannot be loaded any
        more, the others go without, and say so.
        """
        others = [
            entrant for entrant in self.plan.entrants if entrant is not reference and self._known(entrant) is None
        ]
        if not self.settings.layers or not others or self.stop.is_set():
            return
        try:
            with ExitStack() as leases, column_errors(reference.name):
                ready = yield from self.loader.ready(reference, leases)
                yield from self._layers(reference, ready, QualityRun(reference.name))
        except Stopped:
            return
        except QuantlabError as error:
            self.no_layers = f"no errors of its layers: {reference.name} could not be loaded again ({error.what})"

    def _as_events(
        self, entrant: Entrant, stage: Stage, work: Callable[[Progress], T]
    ) -> Generator[Measuring, None, T]:
        """Do the work in a thread and pass its progress on, with the time left by the pace so far."""
        begun = time.perf_counter()

        def measuring(step: tuple[int, int, str]) -> Measuring:
            done, total, what = step
            spent = time.perf_counter() - begun
            left = spent * (total - done) / done if done else None
            return Measuring(entrant.name, stage, done, total, what, left)

        return (yield from forward(in_background(work, self.stop), measuring))

    def _key(self) -> str:
        """What changes the reference's log-probabilities: its weights, how they are computed, the tokens read."""
        reference = self.plan.reference
        variant = self.plan.variant(reference)
        kv_cache = {} if reference.precision.kv_cache is None else {"kv_cache": reference.precision.kv_cache}
        everything = {
            "format": FORMAT,
            **kv_cache,
            "variant": identity(variant),
            "placement": asdict(variant.placement),
            "windows": self.windows.digest,
            "versions": versions(),
        }
        return models.digest(everything)[:32]

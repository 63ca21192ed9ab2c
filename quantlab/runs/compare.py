"""The main job: one prompt through several precisions, side by side, as a stream of events."""

import queue
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING

from quantlab.errors import ModelError, QuantlabError, Stopped
from quantlab.fidelity import METRICS
from quantlab.fidelity.divergence import divergence, score_answer, token_differences
from quantlab.measure.machine import machine, versions
from quantlab.models.tokenizer import token_texts
from quantlab.records import Comparison, Divergence, Model, Run, Settings, TokenDifference
from quantlab.records.events import Done, Event, Events, Finished, Loaded, ReferenceMoved, Started, TimingAgain
from quantlab.runs.generate import Generation, Ready, generate, text_of, texts_of
from quantlab.runs.loading import VariantLoader, column_errors, find_entrants, variant_cache
from quantlab.runs.plan import Entrant, Plan, moved, plan
from quantlab.runs.repeats import COLUMN_S, TOGETHER_S, Again, again, with_speeds
from quantlab.runs.served import answered
from quantlab.runtime.background import forward
from quantlab.runtime.variant_cache import VariantCache
from quantlab.settings import app_settings

if TYPE_CHECKING:
    import torch

#: What a run shows of its answer as the decode loop gave it.
_AS_GENERATED = ("text", "token_ids", "timing", "peak", "kv_cache_bytes", "bandwidth_share", "nonfinite", "stopped")


def compare(
    model: str | Model,
    precisions_asked: Sequence[str],
    prompt: str,
    settings: Settings | None = None,
    *,
    stop: threading.Event | None = None,
    variants: VariantCache | None = None,
    known: Mapping[str, Run] | None = None,
    replay: Callable[[Plan], Comparison | None] | None = None,
    make: "type[ComparisonJob] | Callable[..., ComparisonJob] | None" = None,
) -> Events:
    """Run one prompt through one model at several precisions.

    `precisions_asked` may also name published checkpoints, as `PATH_OR_ID` or `PATH_OR_ID::PICK` (see
    `methods.published`); their columns go by a short label. `known` are runs of this comparison that were finished
    earlier; they are given again instead of being repeated, but for the reference where others are still to be set
    beside it. `replay` may know the whole comparison from its plan, which then is given at once, marked as replayed.
    `make` makes another job of the plan than one in this process (see `quantlab.runs.cluster`).

    Yields `Loading` with an empty precision while a model is fetched, then `Started`, and for each precision, the
    reference first, `Loading`, `Loaded`, `Token`, `TimingAgain` (not in a race) and `Finished`; at last `Done` with the
    whole `Comparison`. A precision that fails is a run with an error and takes no other with it. Setting `stop`, or
    closing the generator, ends the work after the token in progress.

    Raises BadInput or ModelError before `Started` where nothing can run at all.
    """
    stop = stop or threading.Event()
    settings = settings or Settings()
    found, entrants = yield from find_entrants(model, precisions_asked, stop)
    planned = plan(found, entrants, prompt, settings, app_settings(), stop)
    if replay is not None and (earlier := replay(planned)) is not None:
        # What is kept does not say where the model lies; here it is known.
        yield from replayed(replace(earlier, model=found))
        return
    job = (make or ComparisonJob)(planned, stop, VariantLoader(planned, stop, variants or variant_cache()), known or {})
    yield from job.run()


def replayed(earlier: Comparison) -> Events:
    """The events of a comparison that is there already; nothing runs."""
    names = tuple(run.precision for run in earlier.runs)
    yield Started(names, earlier.reference, earlier.prompt_token_ids, earlier.prompt_tokens, earlier.model)
    for run in earlier.runs:
        if run.load is not None:
            yield Loaded(run.precision, run.load)
        yield Finished(run)
    yield Done(earlier, replayed=True)


@dataclass
class ComparisonJob:
    """One comparison under way, in this process."""

    plan: Plan
    stop: threading.Event
    loader: VariantLoader
    known: Mapping[str, Run] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    reference_answer: Generation | None = None
    reference_scores: "torch.Tensor | None" = None
    not_finite: set[str] = field(default_factory=set)

    def run(self) -> Events:
        plan, prompt_input, started = self.plan, self.plan.prompt_input, datetime.now(UTC)
        tokens = token_texts(prompt_input.tokenizer, prompt_input.prompt_ids)
        names = tuple(entrant.name for entrant in plan.order)
        yield Started(names, plan.reference.name, prompt_input.prompt_ids, tokens, plan.model)
        yield from self.columns()
        yield Done(
            Comparison(
                model=plan.model,
                prompt=plan.prompt,
                prompt_token_ids=prompt_input.prompt_ids,
                prompt_tokens=tokens,
                reference=self.plan.reference.name,
                settings=plan.settings,
                machine=machine(plan.placement.device),
                versions=versions(),
                runs=tuple(self.runs[entrant.name] for entrant in self.plan.order),
                started=started,
            )
        )

    def columns(self) -> Events:
        """All of them; the runs go into `runs`."""
        yield from self._race() if self.plan.settings.race else self._one_by_one()

    def _one_by_one(self) -> Events:
        waiting = list(self.plan.order)
        while waiting:
            entrant = waiting.pop(0)
            if (earlier := self._earlier(entrant)) is not None:
                yield from self._finish(earlier)
                continue
            yield from self._finish((yield from self.column(entrant)))
            if entrant is self.plan.reference and self._no_numbers():
                yield from self._move_on(entrant.name)
                waiting = [it for it in self.plan.order if it.name not in self.runs]

    def column(self, entrant: Entrant) -> Generator[Event, None, Run]:
        """Load one and let it answer, beside the reference's answer where that is there already."""
        with ExitStack() as leases:
            try:
                with column_errors(entrant.name):
                    if entrant.server is not None:
                        return (yield from self._served(entrant))
                    ready = yield from self.loader.ready(entrant, leases)
                    got = yield from generate(ready, self.plan.prompt_input, self._device, self.stop)
                    run = yield from self._timed_again(ready, got, self._run_of(ready, got))
                    return self._checked(ready, run)
            except QuantlabError as error:
                return failed(entrant, error)

    def _no_numbers(self) -> bool:
        """Whether the reference's answer cannot be compared with. A logit of minus infinity alone is a probability."""
        return self.reference_scores is not None and bool(self.reference_scores.isnan().any())

    def _move_on(self, name: str) -> Events:
        """Another reference, where this one's logits are no numbers and nobody asked for it."""
        self.not_finite.add(name)
        if (found := moved(self.plan, self.not_finite)) is not None:
            self.plan, self.reference_answer, self.reference_scores = found, None, None
            why = f"The logits of {name} are no numbers: {found.reference.name} is the reference instead."
            yield ReferenceMoved(found.reference.name, why)

    def _earlier(self, entrant: Entrant) -> Run | None:
        """A run that was finished before; the reference's only where no other has to be set beside it."""
        known = {it.name for it in self.plan.entrants if self._is_known(it)}
        others = len(known) == len(self.plan.entrants)
        wanted = entrant.name in known and (others or entrant is not self.plan.reference)
        return self.known[entrant.name] if wanted else None

    def _is_known(self, entrant: Entrant) -> bool:
        """Whether it was finished with the files and by the definitions of today; an older version told neither."""
        run = self.known.get(entrant.name)
        return run is not None and run.metrics == METRICS and run.identity == self.plan.identity(entrant)

    def _race(self) -> Events:
        """All variants at once, each in a thread; what they tell comes through one queue."""
        machine(self._device)  # measures the bandwidth once, and not while they all use it
        with ExitStack() as leases:
            ready: list[Ready] = []
            for entrant in (it for it in self.plan.order if it.server is None):
                try:
                    with column_errors(entrant.name):
                        ready.append((yield from self.loader.ready(entrant, leases)))
                except QuantlabError as error:
                    yield from self._finish(failed(entrant, error))
            answers = yield from self._answer_together(ready)
            while ready:
                one = ready.pop(0)
                try:
                    with column_errors(one.precision):
                        outcome = answers[one.precision]
                        if isinstance(outcome, BaseException):
                            raise outcome
                        run = self._checked(one, with_speeds(self._run_of(one, outcome), outcome))
                except QuantlabError as error:
                    run = Run(one.precision, error.what, error.advice, load=one.load)
                yield from self._finish(run)
                if one.precision == self.plan.reference.name and self._no_numbers():
                    yield from self._move_on(run.precision)
                    ready.sort(key=lambda it: it.precision != self.plan.reference.name)
        for entrant in (it for it in self.plan.order if it.server is not None):
            yield from self._finish((yield from self.column(entrant)))

    def _answer_together(self, ready: list[Ready]) -> Generator[Event, None, dict[str, Generation | BaseException]]:
        told: queue.Queue = queue.Queue()
        done: dict[str, Generation | BaseException] = {}

        def work(one: Ready) -> None:
            try:
                events = generate(one, self.plan.prompt_input, self._device, self.stop)
                while True:
                    told.put(next(events))
            except StopIteration as end:
                done[one.precision] = end.value
            except BaseException as error:  # handed over whole, and raised by the one who waits
                done[one.precision] = error
            finally:
                told.put(None)

        threads = [threading.Thread(target=work, args=(one,), daemon=True) for one in ready]
        for thread in threads:
            thread.start()
        left = len(threads)
        try:
            while left:
                event = told.get()
                if event is None:
                    left -= 1
                else:
                    yield event
        except GeneratorExit:
            self.stop.set()
            raise
        finally:
            for thread in threads:
                thread.join()
        return done

    @property
    def _device(self) -> str:
        return self.loader.device

    def _served(self, entrant: Entrant) -> Generator[Event, None, Run]:
        """The run of a column that a server answers, if it is not stopped before that."""
        if self.stop.is_set() or entrant.server is None:
            raise Stopped
        return (
            yield from answered(
                entrant.server, entrant.name, self.plan, self.stop, self.reference_answer, self.reference_scores
            )
        )

    def _run_of(self, ready: Ready, got: Generation) -> Run:
        """The run with its figures; the reference's answer is read by this variant too (teacher-forced)."""
        tokenizer = self.plan.prompt_input.tokenizer
        is_reference = ready.precision == self.plan.reference.name
        parted: Divergence | None = None
        differences: tuple[TokenDifference, ...] = ()
        if is_reference:
            self.reference_answer = got
            if got.token_ids and not self.stop.is_set():
                self.reference_scores = self._scores(ready, got)
        elif self.reference_answer is not None and got.computed_ids:
            theirs = self.reference_answer
            texts = texts_of(tokenizer, (*got.tops, *theirs.tops))
            parted = divergence(got.token_ids, theirs.token_ids, got.tops, theirs.tops, texts)
            if self.reference_scores is not None and not self.stop.is_set():
                tokens = token_texts(tokenizer, theirs.token_ids)
                scores = self._scores(ready, theirs)
                name = cache(partial(text_of, tokenizer))
                differences = token_differences(scores, self.reference_scores, theirs.token_ids, tokens, name)
        return Run(
            precision=ready.precision,
            tokens=token_texts(tokenizer, got.token_ids),
            load=ready.load,
            first_divergence=parted,
            differences=differences,
            **{name: getattr(got, name) for name in _AS_GENERATED},
        )

    def _timed_again(self, ready: Ready, got: Generation, run: Run) -> Generator[TimingAgain, None, Run]:
        """The run with its speed over several answers. The answer is there: neither Stop nor an error costs it."""
        if got.timing is None or got.stopped or self.stop.is_set():
            return with_speeds(run, got)
        seconds = min(COLUMN_S, TOGETHER_S / len(self.plan.order))
        steps = again(ready, self.plan.prompt_input, self._device, self.stop, got.timing, seconds)
        try:
            with column_errors(ready.precision):
                repeated = yield from forward(steps, lambda done: TimingAgain(ready.precision, done))
        except QuantlabError:
            repeated = Again()
        return with_speeds(run, got, repeated)

    def _checked(self, ready: Ready, run: Run) -> Run:
        """The same run. Raises ModelError where its files changed under it; then no other is held against it."""
        entrant = next(entrant for entrant in self.plan.entrants if entrant.name == ready.precision)
        try:
            self.loader.check_unchanged(entrant, ready)
        except ModelError:
            if entrant is self.plan.reference:
                self.reference_answer = self.reference_scores = None
            raise
        return run

    def _scores(self, ready: Ready, theirs: Generation) -> "torch.Tensor":
        prompt = self.plan.prompt_input.prompt_ids
        session = ready.loaded.start(len(prompt) + len(theirs.token_ids))
        return score_answer(session, prompt, theirs.token_ids, ready.loaded.vocabulary_size)

    def _finish(self, run: Run) -> Events:
        entrant = next(entrant for entrant in self.plan.entrants if entrant.name == run.precision)
        counts = not self.plan.settings.race
        run = replace(run, timings_count=counts, identity=self.plan.identity(entrant), metrics=METRICS)
        self.runs[run.precision] = run
        yield Finished(run)


def failed(entrant: Entrant, error: QuantlabError) -> Run:
    """The run of a column that could not come to its end."""
    if isinstance(error, Stopped):
        return Run(entrant.name, stopped=True)
    return Run(entrant.name, error.what, error.advice)

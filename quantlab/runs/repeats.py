"""Answers timed again, so that a speed comes with its spread: of a comparison's columns, and of a quality run's.

What is repeated is the answer itself: the same prompt, the same tokens (greedy, or drawn with the same seed). Where
whole answers would take too long it is their beginning.
"""

import threading
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from quantlab.errors import QuantlabError
from quantlab.measure.cpu import CpuClock, computing
from quantlab.measure.statistics import mean, median
from quantlab.measure.timing import Stopwatch
from quantlab.measure.trust import ANSWERS
from quantlab.records import CpuUse, QualityRun, Run, Timing
from quantlab.records.events import Measured, Measuring
from quantlab.runs.generate import Generation, PromptInput, Ready
from quantlab.runs.loading import VariantLoader, column_errors
from quantlab.runs.plan import Entrant
from quantlab.runtime.background import forward, result
from quantlab.runtime.decode import decode
from quantlab.runtime.sampling import sampler

#: All repeats of a column take at most so many seconds, and those of all columns of a comparison should take so many.
COLUMN_S, TOGETHER_S = 5.0, 6.0
#: A quality run's answers of a column, right after its load, take about so many seconds at most.
ROUND_S = 10.0
#: Rounds of one answer each at the end of a quality run, through all columns that are still in memory.
ROUNDS = 2
# A repeat of fewer tokens says too little of a speed. Answers so short that all together take less than so many seconds
# say too little as well: then there are more of them, up to so many.
_LEAST_TOKENS, _LEAST_S, _MOST = 9, 0.3, 15


@dataclass(frozen=True)
class Again:
    """What was timed again, and the processor meanwhile; None where nothing was."""

    timings: tuple[Timing, ...] = ()
    cpu: CpuUse | None = None

    @property
    def speeds(self) -> tuple[float, ...]:
        return tuple(it.decode_tokens_per_s for it in self.timings if it.decode_tokens_per_s)


def length(first: Timing, new_tokens: int, seconds: float, limit: float) -> int:
    """How many tokens are decoded each time: two answers should take `seconds`; 0 where not even `limit` would do."""
    gap, wanted = mean(first.itl_s) or 0.0, min(new_tokens, _LEAST_TOKENS)

    def fitting(room: float) -> int:
        left = room / (ANSWERS - 1) - first.ttft_s
        return 0 if left <= 0 else new_tokens if gap == 0 else min(new_tokens, 1 + int(left / gap))

    if (tokens := fitting(seconds)) >= wanted:
        return tokens
    return wanted if fitting(limit) >= wanted else 0


def again(
    ready: Ready,
    prompt_input: PromptInput,
    device: str,
    stop: threading.Event,
    first: Timing,
    seconds: float = COLUMN_S,
    limit: float = COLUMN_S,
) -> Generator[int, None, Again]:
    """Time the answer again until there are three with the `first`, or more where they are short.

    Yields how many there are, the first one counted. They take about `seconds` and at most `limit`: what would not end
    by then is not begun. `stop` ends it at once, and what was not whole is left out.
    """
    tokens = length(first, prompt_input.settings.max_new_tokens, seconds, limit)
    timings: list[Timing] = []
    clock, begun, timed = CpuClock(computing(device)), time.perf_counter(), _took(first)
    while tokens and len(timings) < _MOST:
        spent = time.perf_counter() - begun
        if len(timings) >= ANSWERS - 1 and timed >= _LEAST_S:
            break
        if timings and spent * (1 + 1 / len(timings)) > limit:
            break
        yield 1 + len(timings)
        timing = once(ready, prompt_input, device, stop, tokens)
        if timing is None:
            break
        timings.append(timing)
        timed += _took(timing)
    return Again(tuple(timings), clock.use() if timings else None)


def once(ready: Ready, prompt_input: PromptInput, device: str, stop: threading.Event, tokens: int) -> Timing | None:
    """Time one answer of so many tokens; None where `stop` was set."""
    from quantlab.runtime.torch_session import synchronize

    if stop.is_set():
        return None
    watch = Stopwatch(lambda: synchronize(device))
    session = ready.loaded.start(prompt_input.capacity)
    for _ in watch.watch(decode(session, prompt_input.prompt_ids, tokens, sampler(prompt_input.settings))):
        if stop.is_set():
            return None
    return watch.timing(len(prompt_input.prompt_ids), None)


def _took(timing: Timing) -> float:
    return timing.ttft_s + sum(timing.itl_s)


def with_speeds(run: Run, shown: Generation, repeated: Again = Again()) -> Run:
    """A comparison's run with what was timed: the shown answer, then the repeats."""
    if shown.timing is None:
        return run
    first = shown.timing.decode_tokens_per_s
    return replace(
        run,
        ttft_samples=(shown.timing.ttft_s, *(it.ttft_s for it in repeated.timings)),
        decode_samples=(first, *repeated.speeds) if first else (),
        cpu=shown.cpu if repeated.cpu is None else shown.cpu + repeated.cpu,
    )


def with_more(run: QualityRun, more: Again) -> QualityRun:
    """A quality run with more answers timed."""
    samples = (*run.decode_samples, *more.speeds)
    cpu = run.cpu + more.cpu if run.cpu and more.cpu else run.cpu or more.cpu
    return replace(run, decode_tokens_per_s=median(samples), decode_samples=samples, cpu=cpu)


def first_round(
    ready: Ready, prompt_input: PromptInput, device: str, stop: threading.Event
) -> Generator[int, None, Again]:
    """Three answers of a quality run's column right after its load, or more where they are short; yields the count."""
    clock, begun = CpuClock(computing(device)), time.perf_counter()
    first = once(ready, prompt_input, device, stop, prompt_input.settings.max_new_tokens)
    if first is None:
        return Again()
    use = clock.use()
    left = max(0.0, ROUND_S - (time.perf_counter() - begun))
    rest = yield from again(ready, prompt_input, device, stop, first, left, ROUND_S)
    return Again((first, *rest.timings), use + rest.cpu if rest.cpu else use)


def further_rounds(
    loader: VariantLoader, columns: Sequence[tuple[Entrant, QualityRun]]
) -> Generator[Measuring | Measured, None, None]:
    """Time the columns in turn, one answer each, so that what comes and goes on the machine meets all of them.

    Only those that the memory still holds, and only where these are two or more. Gives each run again with what was
    added. `stop` and errors leave the runs as they are.
    """
    timed = [(it, run) for it, run in columns if run.decode_samples and loader.plan.variant(it) in loader.variants]
    if len(timed) < 2 or loader.stop.is_set():
        return
    plan, stop, found = loader.plan, loader.stop, {run.precision: run for _, run in timed}
    with ExitStack() as leases:
        try:
            ready = [_brought(loader, entrant, leases) for entrant, _ in timed]
        except QuantlabError:
            return
        for done in range(ROUNDS):
            for (entrant, _), one in zip(timed, ready, strict=True):
                yield Measuring(one.precision, "again", done, ROUNDS, "answers", None)
                run = found[one.precision]
                added = _added(entrant, one, loader, _tokens(run, plan.prompt_input))
                if added is None:
                    continue
                found[one.precision] = with_more(run, added)
                if stop.is_set():
                    break
    yield from (Measured(run) for (_, before), run in zip(timed, found.values(), strict=True) if run is not before)


def _brought(loader: VariantLoader, entrant: Entrant, leases: ExitStack) -> Ready:
    """A column that is in memory already, warmed up. Its events tell nothing new."""
    with column_errors(entrant.name):
        return result(loader.ready(entrant, leases))


def _tokens(run: QualityRun, prompt_input: PromptInput) -> int:
    """As many as a half of a column's seconds allow."""
    fitting = int(COLUMN_S / ROUNDS * (run.decode_tokens_per_s or 0.0))
    return min(prompt_input.settings.max_new_tokens, max(_LEAST_TOKENS, fitting))


def _added(entrant: Entrant, one: Ready, loader: VariantLoader, tokens: int) -> Again | None:
    """One more answer; None where it was stopped, failed, or its files changed under it."""
    clock = CpuClock(computing(loader.device))
    try:
        with column_errors(one.precision):
            timing = once(one, loader.plan.prompt_input, loader.device, loader.stop, tokens)
            loader.check_unchanged(entrant, one)
    except QuantlabError:
        return None
    return Again((timing,), clock.use()) if timing else None


def counted(precision: str, steps: Generator[int, None, Again]) -> Generator[Measuring, None, Again]:
    """The steps as events of a quality run."""
    yield Measuring(precision, "speed", 0, ANSWERS, "answers", None)
    told = forward(steps, lambda done: Measuring(precision, "speed", done, max(done, ANSWERS), "answers", None))
    return (yield from told)

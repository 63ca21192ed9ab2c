"""Run comparisons on small models with a cache of the test's own."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from quantlab.checkpoints.load import load_variant
from quantlab.records import Comparison, Model, Placement, Progress, Run, Settings, Variant
from quantlab.records.events import Done, Event, Finished, Token
from quantlab.runs import compare, estimates
from quantlab.runtime.session import LoadedModel, Session
from quantlab.runtime.variant_cache import LoadResult, VariantCache
from tests.event_grammar import checked

PROMPT = "Once upon a time"


@dataclass
class Loader:
    """The real loader, counting. `instead` maps a precision to what is called in its place."""

    instead: dict = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)

    def __call__(self, variant: Variant, progress: Progress) -> LoadResult:
        name = variant.precision.name
        self.loads.append(name)
        return self.instead.get(name, load_variant)(variant, progress)

    def cache(self) -> VariantCache:
        return VariantCache(self, estimates.estimated_bytes, lambda _device, _held: 10**12)


def fails(error: Exception):
    """A loader that raises when half of its tensors are there."""

    def load(_variant: Variant, progress: Progress) -> LoadResult:
        progress(1, 2, "half of it")
        raise error

    return load


@dataclass
class _Failing:
    """Stands before a model or a session and raises `error` at the call number `calls` of `method`, counted from 0."""

    inner: LoadedModel | Session
    method: str
    error: Exception
    calls: list[int]

    def __getattr__(self, name: str):
        found = getattr(self.inner, name)
        if name == "start":
            return lambda *args: _Failing(found(*args), self.method, self.error, self.calls)
        if name != self.method:
            return found

        def call(*args, **options):
            self.calls[0] -= 1
            if self.calls[0] < 0:
                raise self.error
            return found(*args, **options)

        return call


def fails_while_running(method: str, error: Exception, after: int = 0):
    """A loader whose sessions raise at one of their calls of `forward` or `score`."""

    def load(variant: Variant, progress: Progress) -> LoadResult:
        brought = load_variant(variant, progress)
        return replace(brought, loaded=_Failing(brought.loaded, method, error, [after]))

    return load


def events(
    model: Model | str,
    precisions: Sequence[str],
    prompt: str = PROMPT,
    loader: Loader | None = None,
    variants: VariantCache | None = None,
    stop: threading.Event | None = None,
    **settings,
) -> Iterator[Event]:
    """`compare()` with settings for a test: few tokens, and the same compute dtype on every processor."""
    variants = variants or (loader or Loader()).cache()
    options = Settings(**{"max_new_tokens": 8, "placement": Placement("cpu", "float32"), **settings})
    found = compare.compare(model, precisions, prompt, options, stop=stop, variants=variants)
    return checked(found, options.race)


def done(stream: Iterable[Event]) -> Comparison:
    """The comparison at the end of the events; each `Finished` must hold the run that `Done` holds."""
    seen = list(stream)
    assert isinstance(seen[-1], Done)
    finished = {event.run.precision: event.run for event in seen if isinstance(event, Finished)}
    assert finished == {run.precision: run for run in seen[-1].comparison.runs}
    return seen[-1].comparison


def compared(*args, variants: VariantCache | None = None, loader: Loader | None = None, **options) -> Comparison:
    """The comparison alone. A cache that nobody gave is emptied again."""
    own = None if variants else (loader or Loader()).cache()
    try:
        return done(events(*args, variants=variants or own, **options))
    finally:
        if own:
            own.drop_unused()


def tokens_of(seen: Iterable[Event], precision: str) -> list[Token]:
    return [event for event in seen if isinstance(event, Token) and event.precision == precision]


def is_complete(run: Run) -> bool:
    """Whether it ended by itself and every figure of it was measured."""
    whole = run.error is None and not run.stopped and run.load is not None and run.timing is not None
    return whole and None not in (run.peak, run.kv_cache_bytes, run.bandwidth_share)

"""What the server did, counted, as Prometheus reads it. Counts, seconds and bytes; no names and no texts."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from quantlab.records.events import Finished, Loaded, Measured

if TYPE_CHECKING:
    from quantlab.runtime.variant_cache import VariantCache

#: How a run ended: to its end, told to stop or left, refused or failed in words, or by a defect.
Outcome = Literal["done", "stopped", "failed", "broken"]
#: Why something was not begun.
Why = Literal["ending", "rate", "login", "full"]
_SECONDS = (0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counters of one page. Any thread may call it."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.runs = Counter("quantlab_runs", "Runs that ended", ["kind", "outcome"], registry=registry)
        self.running = Gauge("quantlab_running", "Runs under way", registry=registry)
        self.run_seconds = Histogram(
            "quantlab_run_seconds", "How long runs took", ["kind"], buckets=_SECONDS, registry=registry
        )
        self.wait_seconds = Histogram(
            "quantlab_wait_seconds", "How long runs waited for their turn", buckets=_SECONDS, registry=registry
        )
        self.loads = Counter("quantlab_loads", "Variants that were loaded", ["origin"], registry=registry)
        self.errors = Counter("quantlab_column_errors", "Columns that ended with an error", registry=registry)
        self.refused = Counter("quantlab_refused", "Requests that were not begun", ["why"], registry=registry)
        for why in ("ending", "rate", "login", "full"):
            self.refused.labels(why)
        ProcessCollector(registry=registry)
        registry.register(_Cache())

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def waited(self, seconds: float) -> None:
        """A run's turn came after so many seconds."""
        self.wait_seconds.observe(seconds)

    def refuse(self, why: Why) -> None:
        self.refused.labels(why).inc()

    def saw(self, event: object) -> None:
        match event:
            case Loaded(load=load) if load.load_origin != "memory":
                self.loads.labels(load.load_origin).inc()
            case Finished(run=run) | Measured(run=run) if run.error is not None:
                self.errors.inc()

    @contextmanager
    def run(self, kind: str) -> Iterator[list[Outcome]]:
        """Count a run; whoever runs it appends how it ended, which is "stopped" otherwise."""
        ended: list[Outcome] = []
        begun = time.monotonic()
        with self.running.track_inprogress():
            try:
                yield ended
            finally:
                self.runs.labels(kind, ended[-1] if ended else "stopped").inc()
                self.run_seconds.labels(kind).observe(time.monotonic() - begun)


class _Cache(Collector):
    """What the cache of variants holds now, read when it is asked for."""

    def collect(self) -> Iterator[Any]:
        cache = _variant_cache()
        held = GaugeMetricFamily("quantlab_held_bytes", "Bytes of loaded variants", labels=["device"])
        by_device: Mapping[str, int] = cache.held() if cache else {}
        for device, nbytes in (by_device or {"cpu": 0}).items():
            held.add_metric([device], nbytes)
        yield held
        evictions = cache.evictions if cache else 0
        yield CounterMetricFamily("quantlab_evictions", "Variants that were dropped from memory", value=evictions)


def _variant_cache() -> "VariantCache | None":
    """The cache of this process; None while nothing has been loaded, so that to ask brings no torch."""
    loading = sys.modules.get("quantlab.runs.loading")
    return loading.variant_cache() if loading is not None else None

"""Comparisons and quality runs whose columns run on the nodes of a cluster: planned and put together here.

The reference comes first, since all others are set beside it; they then run at once, each on a node with room for it.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from quantlab.errors import Unavailable
from quantlab.fidelity import METRICS
from quantlab.records import ComparisonRequest, QualityRequest, QualityRun, Run
from quantlab.records.events import Events, Measured, QualityEvents
from quantlab.runs.cluster.column import Ended, HeldRows, Shared, Task
from quantlab.runs.cluster.crew import Crew
from quantlab.runs.cluster.nodes import Need, need_of
from quantlab.runs.compare import ComparisonJob
from quantlab.runs.plan import Entrant, Plan
from quantlab.runs.quality import QualityJob

if TYPE_CHECKING:
    from quantlab.fidelity.reference import Rows

_PACKAGE = "ray>=2.60,<2.61"
#: So long a node may take to answer, in seconds.
_KNOCK_S = 10.0


@dataclass(frozen=True)
class Cluster:
    """A cluster that was joined: where the columns of a job run."""

    crew: Crew

    def comparison(self, request: ComparisonRequest) -> Callable[..., ComparisonJob]:
        return partial(ClusterComparison, crew=self.crew, request=request)

    def quality(self, request: QualityRequest) -> Callable[..., QualityJob]:
        return partial(ClusterQuality, crew=self.crew, request=request)

    def at_once(self, columns: int) -> int:
        """One job more than fills it, since each begins with its reference alone."""
        slots = sum(max(1, int(node.cards)) for node in self.crew.nodes())
        return 1 + ceil(slots / columns)


@contextmanager
def joined(address: str) -> Iterator[Cluster]:
    """The cluster at "auto" (this machine's), HOST:PORT or ray://HOST:PORT, left at the end. Raises Unavailable."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise Unavailable("A cluster needs the package ray.", f"pip install '{_PACKAGE}', on every node.") from error
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True)
    except (OSError, ValueError, RuntimeError) as error:
        what = f"There is no Ray cluster at {address!r} ({str(error).splitlines()[0].rstrip('.')})."
        raise Unavailable(what, "Start one: ray start --head, and ray start --address HOST:PORT elsewhere.") from error
    try:
        yield Cluster(Crew())
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises OSError where nobody listens at the address: Ray itself would try for many minutes."""
    if address == "auto":
        from ray._private.utils import read_ray_address

        address = os.environ.get("RAY_ADDRESS") or read_ray_address() or ""
        if not address:
            raise ConnectionError("none was started on this machine")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("an address is auto, HOST:PORT or ray://HOST:PORT")
    with socket.create_connection((host, int(port)), timeout=_KNOCK_S):
        pass


def _task(request: Any, plan: Plan, entrant: Entrant) -> Task:
    """The column's task: the reference and it alone, so that a node fetches nothing for the others."""
    typed = dict(zip((it.name for it in plan.entrants), request.precisions, strict=True))
    names = tuple(dict.fromkeys((plan.reference.name, entrant.name)))
    settings = replace(request.settings, reference=plan.reference.name, placement=plan.settings.placement)
    # What no column has is a plain precision: the second rounding of the noise floor.
    own = replace(request, precisions=tuple(typed.get(name, name) for name in names), settings=settings)
    return Task(own, names, entrant.name, plan.identity(entrant))


def _need(crew: Crew, plan: Plan, entrant: Entrant) -> Need:
    return Need(0, 0, 0) if entrant.failure or entrant.server else need_of(plan.variant(entrant), crew.nodes())


@dataclass
class ClusterComparison(ComparisonJob):
    """A comparison whose columns run on the nodes."""

    crew: Crew = field(kw_only=True)
    request: ComparisonRequest = field(kw_only=True)

    def columns(self) -> Events:
        shared: Shared | None = None
        while shared is None:
            reference = self.plan.reference
            if (earlier := self._earlier(reference)) is not None:
                yield from self._finish(earlier)
                shared = Shared(earlier)
                continue
            shared = yield from self._run([reference], None)
            if self._no_numbers():
                before = self.plan.reference
                yield from self._move_on(reference.name)
                shared = shared if self.plan.reference is before else None
        waiting = [it for it in self.plan.order if it.name not in self.runs]
        for entrant in list(waiting):
            if (earlier := self._earlier(entrant)) is not None:
                waiting.remove(entrant)
                yield from self._finish(earlier)
        if on_nodes := [it for it in waiting if it.server is None]:
            yield from self._run(on_nodes, self.crew.share(shared))
        # A server is asked from where its address was typed, by the key that is here: a node may know neither.
        for entrant in (it for it in waiting if it.server is not None):
            yield from self._finish((yield from self.column(entrant)))

    def _run(self, entrants: list[Entrant], shared: Any) -> "Any":
        """These columns to their ends; what the last of them leaves for the others."""
        request = replace(self.request, settings=replace(self.request.settings, race=False))
        asked = [(_task(request, self.plan, it), _need(self.crew, self.plan, it)) for it in entrants]
        left = Shared()
        with closing(self.crew.follow(asked, shared, self.stop)) as told:
            for event in told:
                if not isinstance(event, Ended):
                    yield event
                    continue
                assert isinstance(event.run, Run)
                if event.run.precision == self.plan.reference.name:
                    left = event.shared
                    self.reference_answer, self.reference_scores = left.answer, left.scores
                yield from self._finish(event.run)
        return left


@dataclass
class ClusterQuality(QualityJob):
    """A quality run whose columns run on the nodes. The rows of the reference are kept here too, for a resumption."""

    crew: Crew = field(kw_only=True)
    request: QualityRequest = field(kw_only=True)

    def columns(self) -> QualityEvents:
        shared: Shared | None = None
        while shared is None:
            reference, known = self.plan.reference, self._known(self.plan.reference)
            others = [it for it in self.plan.entrants if it is not reference and self._known(it) is None]
            if known is not None and not (self.settings.layers and others):
                self.runs[reference.name] = known
                yield Measured(known)
                shared = Shared(known, rows=None if self.rows is None or not others else _whole(self.rows))
                continue
            shared = yield from self._run([reference], None)
            self._keep(shared)
            if self.runs[reference.name].nonfinite:
                yield from self._move_on(reference.name)
                shared = shared if self.plan.reference is reference else None
        waiting = [it for it in self._order() if it.name not in self.runs]
        for entrant in list(waiting):
            if (earlier := self._known(entrant)) is not None:
                waiting.remove(entrant)
                self.runs[entrant.name] = earlier
                self._note_floor(earlier)
                yield Measured(earlier)
        waiting = [it for it in waiting if it in self.plan.entrants or shared.rows is not None]
        if waiting:
            yield from self._run(waiting, self.crew.share(shared))

    def _run(self, entrants: list[Entrant], shared: Any) -> Any:
        """These columns to their ends; what the reference leaves for the others."""
        left = Shared()
        asked = [(self._task(it), _need(self.crew, self.plan, it)) for it in entrants]
        with closing(self.crew.follow(asked, shared, self.stop)) as told:
            for event in told:
                if not isinstance(event, Ended):
                    yield event
                    continue
                assert isinstance(event.run, QualityRun)
                run = self._signed(event.run)
                if run.precision == self.plan.reference.name:
                    left = event.shared
                self._note_floor(run)
                if any(it.name == run.precision for it in self.plan.entrants):
                    self.runs[run.precision] = run
                    yield Measured(run)
        return left

    def _task(self, entrant: Entrant) -> Task:
        """What is read for the noise floor alone answers no tasks and shows no layers."""
        how = self.settings
        if entrant not in self.plan.entrants:
            how = replace(how, tasks=(), layers=False)
        return _task(replace(self.request, settings=how), self.plan, entrant)

    def _signed(self, run: QualityRun) -> QualityRun:
        """With the identity of its files and the version of its figures' definitions, also where it failed."""
        entrant = next((it for it in self.plan.entrants if it.name == run.precision), self.plan.reference)
        return replace(run, identity=self.plan.identity(entrant), metrics=METRICS)

    def _note_floor(self, run: QualityRun) -> None:
        if run.fidelity is not None and run.precision == self._rounding():
            self.floor = run.fidelity

    def _keep(self, shared: Shared) -> None:
        """Keep the reference's rows on this machine's disk as one process would, and from now on read them there."""
        if shared.rows is None:
            return
        key = self._key()
        if self.store.find(key) is None:
            import torch

            with self.store.writing(key, *shared.rows.shape) as writer:
                writer.append(torch.from_numpy(np.array(shared.rows)))
        self.rows = HeldRows.of(shared.rows)


def _whole(rows: "Rows") -> np.ndarray:
    return rows.block(0, rows.tokens).numpy()

"""What an actor does: one column of a comparison or of a quality run, with the same cache and engine as everywhere.

Of Ray it knows but where it is. What the others need of the reference (its answer, its rows) comes as `Shared`.
"""

import queue
import threading
from collections.abc import Generator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from platform import node as host_name
from typing import TYPE_CHECKING, Any

import numpy as np

from quantlab.errors import ModelError, QuantlabError, Stopped
from quantlab.fidelity.reference import Rows, score_store
from quantlab.records import ComparisonRequest, QualityRequest, QualityRun, Run
from quantlab.records.events import Event, Loading, QualityEvent
from quantlab.runs.compare import ComparisonJob
from quantlab.runs.generate import Generation
from quantlab.runs.loading import VariantLoader, column_errors, find_entrants, variant_cache
from quantlab.runs.plan import Entrant, Plan, plan, plan_text
from quantlab.runs.quality import QualityJob
from quantlab.settings import app_settings

if TYPE_CHECKING:
    import torch

    from quantlab.fidelity.layers import Outputs

#: How long an answer to "what is new" waits for the first event.
_WAIT_S = 0.5


@dataclass(frozen=True)
class Task:
    """One column: `request` names the reference and it alone, by what was typed; `names` are their columns' names.

    `identity` is that of the files on the machine that asks: a node with other files is refused.
    """

    request: ComparisonRequest | QualityRequest
    names: tuple[str, ...]
    column: str
    identity: str


@dataclass(frozen=True)
class Shared:
    """What the other columns need of the reference's. `rows` are its log-probabilities `[tokens, vocabulary]`."""

    run: Run | QualityRun | None = None
    answer: Generation | None = None
    scores: "torch.Tensor | None" = None
    rows: np.ndarray | None = None
    outputs: "Outputs | None" = None


@dataclass(frozen=True)
class Begun:
    """The column is on a node, by its id in the cluster and its name for the record."""

    node: str
    name: str


@dataclass(frozen=True)
class Ended:
    """The column has its run; the reference's brings what the others need."""

    run: Run | QualityRun
    shared: Shared = Shared()


@dataclass(frozen=True)
class HeldRows(Rows):
    """Rows in memory, which all columns of a node share."""

    held: np.ndarray

    @classmethod
    def of(cls, held: np.ndarray) -> "HeldRows":
        tokens, vocabulary = held.shape
        return cls(Path("the rows of the reference"), tokens, vocabulary, 0, held)

    def block(self, first: int, count: int) -> "torch.Tensor":
        import torch

        return torch.from_numpy(self.held[first : first + count].copy())


def name_here() -> str:
    """This machine's name in records, which others may read: two of one machine are alike, and no host is named."""
    return f"node-{sha256(host_name().encode()).hexdigest()[:6]}"


class Column:
    """The actor: it is asked to begin, then again and again for what is new. Its calls come in several threads."""

    def __init__(self) -> None:
        self._told: queue.Queue[Any] = queue.Queue()
        self._stop = threading.Event()

    def begin(self, task: Task, shared: Shared | None) -> list[Any]:
        """Start the work; where this is."""
        threading.Thread(target=self._work, args=(task, shared or Shared()), daemon=True).start()
        return [Begun(_node_id(), name_here())]

    def more(self) -> list[Any]:
        """The events since the last call, and at last an `Ended`; none where nothing happened for a while."""
        try:
            found = [self._told.get(timeout=_WAIT_S)]
        except queue.Empty:
            return []
        while not self._told.empty():
            found.append(self._told.get())
        return found

    def stop(self) -> None:
        self._stop.set()

    def _work(self, task: Task, shared: Shared) -> None:
        events = work(task, shared, self._stop)
        while True:
            try:
                self._told.put(next(events))
            except StopIteration as end:
                self._told.put(end.value)
                return


def _node_id() -> str:
    import ray

    return ray.get_runtime_context().get_node_id()


def work(task: Task, shared: Shared, stop: threading.Event) -> Generator[Event | QualityEvent, None, Ended]:
    """The column's events; whatever goes wrong is its run with an error."""
    compares = isinstance(task.request, ComparisonRequest)
    try:
        with column_errors(task.column):
            return (yield from _compared(task, shared, stop) if compares else _measured(task, shared, stop))
    except Stopped:
        return Ended(Run(task.column, stopped=True) if compares else QualityRun(task.column, stopped=True))
    except QuantlabError as error:
        kind = Run if compares else QualityRun
        return Ended(kind(task.column, error.what, error.advice))


def _compared(task: Task, shared: Shared, stop: threading.Event) -> Generator[Event | QualityEvent, None, Ended]:
    request = task.request
    assert isinstance(request, ComparisonRequest)
    found, entrants = yield from _entrants(task, stop)
    planned = plan(found, entrants, request.prompt, request.settings, app_settings(), stop)
    entrant = _own(task, planned)
    job = ComparisonJob(planned, stop, VariantLoader(planned, stop, variant_cache()))
    job.reference_answer, job.reference_scores = shared.answer, shared.scores
    run = yield from job.column(entrant)
    if entrant is not planned.reference:
        return Ended(run)
    return Ended(run, Shared(run, job.reference_answer, job.reference_scores))


def _measured(task: Task, shared: Shared, stop: threading.Event) -> Generator[Event | QualityEvent, None, Ended]:
    request = task.request
    assert isinstance(request, QualityRequest)
    found, entrants = yield from _entrants(task, stop)
    planned = plan_text(found, entrants, request.text, request.settings)
    entrant, loader = _own(task, planned), VariantLoader(planned, stop, variant_cache())
    job = QualityJob(planned, request.text, request.settings, stop, score_store(), loader, {})
    job.begin()
    is_reference = entrant is planned.reference
    if not is_reference:
        job.rows = None if shared.rows is None else HeldRows.of(shared.rows)
        job.outputs = shared.outputs
        if isinstance(shared.run, QualityRun):
            job.runs[shared.run.precision] = shared.run
    run = yield from job.measure(entrant)
    if not is_reference:
        return Ended(run)
    rows = None if job.rows is None else job.rows.block(0, job.rows.tokens).numpy()
    return Ended(run, Shared(run, rows=rows, outputs=job.outputs))


def _entrants(task: Task, stop: threading.Event) -> Generator[Loading, None, tuple[Any, tuple[Entrant, ...]]]:
    """As `find_entrants`, under the names of the machine that asks; what is fetched here is told of this column."""
    steps = find_entrants(task.request.model, task.request.precisions, stop)
    while True:
        try:
            yield replace(next(steps), precision=task.column)
        except StopIteration as end:
            found, entrants = end.value
            break
    named = zip(entrants, task.names, strict=True)
    return found, tuple(replace(it, precision=replace(it.precision, name=name)) for it, name in named)


def _own(task: Task, planned: Plan) -> Entrant:
    """The column's entrant. Raises ModelError where its files here are others than where it was asked for."""
    entrant = next(it for it in planned.entrants if it.name == task.column)
    if entrant.failure is None and planned.identity(entrant) != task.identity:
        raise ModelError(
            f"The files of {task.request.model} on this node are others than where it was asked for.",
            "Copy them anew, or share one folder between all machines.",
        )
    return entrant

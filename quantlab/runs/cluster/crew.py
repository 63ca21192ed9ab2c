"""Columns at work on the nodes: begun where there is room, followed together, tried once more when they die."""

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from quantlab.errors import QuantlabError
from quantlab.records import ComparisonRequest, QualityRun, Run
from quantlab.records.events import Event, Loading, QualityEvent, TriedAgain
from quantlab.runs.cluster.column import Begun, Column, Ended, Shared, Task
from quantlab.runs.cluster.nodes import Need, Node, holders, node_of, refused

#: How long the wait for news lasts before Stop is looked at.
_POLL_S = 0.2
#: Calls that an actor answers at once: begin, more, stop.
_CALLS = 4
Told = Event | QualityEvent | Ended


@dataclass
class _Place:
    """A column on its way: the actor, the call that is waited for, and where it is once it has begun."""

    task: Task
    need: Need
    actor: Any = None
    pending: Any = None
    group: Any = None
    begun: Begun | None = None
    tried: list[str] = field(default_factory=list)
    stopping: bool = False


class Crew:
    """The nodes of the cluster that this process has joined."""

    def nodes(self) -> list[Node]:
        """Those that are alive, with what is free there as far as it is told."""
        import ray

        free: dict[str, dict] = {}
        with suppress(Exception):  # no public call tells it, and through ray:// none at all
            free = ray._private.state.available_resources_per_node()
        alive = [it for it in ray.nodes() if it["Alive"]]
        return [node_of(it, free.get(it["NodeID"])) for it in alive if it.get("Resources", {}).get("CPU")]

    def share(self, shared: Shared) -> Any:
        """What every column is to have, put into the object store: each node fetches it once."""
        import ray

        return ray.put(shared)

    def follow(
        self, asked: Sequence[tuple[Task, Need]], shared: Any, stop: threading.Event
    ) -> Generator[Told, None, None]:
        """The events of all columns as they come, and an `Ended` for each; closing this ends their actors."""
        import ray

        at_work: list[_Place] = []
        try:
            for task, need in asked:
                place = _Place(task, need)
                try:
                    self._begin(place, shared)
                    at_work.append(place)
                    yield Loading(task.column, 0, 0, "waiting for a node")
                except QuantlabError as error:
                    yield _failed(place, error.what, error.advice)
            while at_work:
                pending = {place.pending: place for place in at_work}
                ready, _ = ray.wait(list(pending), num_returns=1, timeout=_POLL_S)
                if stop.is_set():
                    yield from self._stop(at_work)
                for call in ready:
                    if (place := pending[call]) in at_work:
                        yield from self._heard(place, at_work, shared, stop)
        finally:
            for place in at_work:
                self._end(place)

    def _begin(self, place: _Place, shared: Any, without: str = "") -> None:
        """Ask for an actor with what the column needs. Raises Unavailable where no node could ever hold it."""
        import ray

        nodes = self.nodes()
        able = holders(place.need, nodes, without) or holders(place.need, nodes)
        if not able:
            raise refused(place.task.column, place.need, nodes)
        # On a processor a column has all of the node's cores, so that none slows another down; on cards it has its own.
        cpus = 1 if place.need.cards else max(1, int(min(node.cpus for node in able)))
        options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": place.need.cards, "memory": place.need.memory}
        options |= self._strategy(place, able, options, elsewhere=bool(without))
        kind: Any = ray.remote(Column)
        actor = kind.options(max_concurrency=_CALLS, max_restarts=0, **options).remote()
        place.actor, place.begun = actor, None
        place.pending = actor.begin.remote(place.task, shared)

    def _strategy(self, place: _Place, able: list[Node], options: dict[str, Any], elsewhere: bool) -> dict[str, Any]:
        """Several cards of one node are held together before anything begins; after a death another node is tried."""
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

        if place.need.cards > 1:
            names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
            bundle = {names[name]: amount for name, amount in options.items() if amount}
            place.group = placement_group([bundle], strategy="STRICT_PACK")
            return {"scheduling_strategy": PlacementGroupSchedulingStrategy(place.group, 0)}
        if elsewhere:
            return {"scheduling_strategy": NodeAffinitySchedulingStrategy(able[0].id, soft=True)}
        return {"scheduling_strategy": "SPREAD"}

    def _heard(
        self, place: _Place, at_work: list[_Place], shared: Any, stop: threading.Event
    ) -> Generator[Told, None, None]:
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            told = ray.get(place.pending)
        except RayTaskError as error:
            broken = _failed(place, f"It broke on its node: {type(error.cause).__name__}.", "A defect; see its log.")
            yield from self._done(place, at_work, broken)
            return
        except RayError as error:
            yield from self._lost(place, at_work, shared, stop, error)
            return
        for item in told:
            match item:
                case Begun():
                    place.begun = item
                case Ended():
                    yield from self._done(place, at_work, item)
                    return
                case _:
                    yield item
        place.pending = place.actor.more.remote()

    def _lost(
        self, place: _Place, at_work: list[_Place], shared: Any, stop: threading.Event, error: Exception
    ) -> Generator[Told, None, None]:
        """The actor or its node died: once more elsewhere, and told; a second time it is the column's error."""
        dead, where = place.begun.node if place.begun else "", self._where(place)
        why = f"what ran it on {where} ended ({type(error).__name__})"
        self._end(place)
        if stop.is_set():
            yield from self._done(place, at_work, _stopped(place))
            return
        if place.tried:
            failed = _failed(place, f"It died twice: {place.tried[0]}; then {why}.", "The nodes' logs say why.")
            yield from self._done(place, at_work, failed)
            return
        place.tried.append(why)
        try:
            self._begin(place, shared, dead)
        except QuantlabError as refusal:
            failed = _failed(place, f"It died: {why}. {refusal.what}", refusal.advice)
            yield from self._done(place, at_work, failed)
            return
        yield TriedAgain(place.task.column, f"{place.task.column} is tried once more elsewhere: {why}.")

    def _where(self, place: _Place) -> str:
        """The node of a column as people know it."""
        if place.begun is None:
            return "its node"
        import ray

        known = {it["NodeID"]: it.get("NodeManagerAddress", "") for it in ray.nodes()}
        return f"{place.begun.name} ({known.get(place.begun.node, '?')})"

    def _done(self, place: _Place, at_work: list[_Place], ended: Ended) -> Iterator[Ended]:
        at_work.remove(place)
        self._end(place)
        run = replace(ended.run, node=place.begun.name if place.begun else "")
        yield replace(ended, run=_noted(run, place.tried))

    def _stop(self, at_work: list[_Place]) -> Iterator[Ended]:
        """Reach all: who has begun ends by himself, who waits for room never begins."""
        for place in list(at_work):
            if place.begun is None:
                yield from self._done(place, at_work, _stopped(place))
            elif not place.stopping:
                place.stopping = True
                place.actor.stop.remote()

    def _end(self, place: _Place) -> None:
        """Give back what the column held."""
        import ray
        from ray.util.placement_group import remove_placement_group

        with suppress(Exception):
            ray.kill(place.actor)
        if place.group is not None:
            with suppress(Exception):
                remove_placement_group(place.group)
            place.group = None


def _kind(place: _Place) -> type[Run] | type[QualityRun]:
    return Run if isinstance(place.task.request, ComparisonRequest) else QualityRun


def _failed(place: _Place, what: str, advice: str = "") -> Ended:
    return Ended(_kind(place)(place.task.column, what, advice))


def _stopped(place: _Place) -> Ended:
    return Ended(_kind(place)(place.task.column, stopped=True))


def _noted(run: Run | QualityRun, tried: list[str]) -> Run | QualityRun:
    """The run with what was tried in vain before it."""
    notes = tuple(f"this is the second try: {why}" for why in tried)
    if not notes or run.load is None:
        return run
    load = replace(run.load, notes=(*run.load.notes, *notes))
    if isinstance(run, QualityRun):
        return replace(run, load=load, notes=(*run.notes, *notes))
    return replace(run, load=load)

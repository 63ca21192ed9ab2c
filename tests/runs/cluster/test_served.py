"""A served column beside columns of a cluster: it is asked from here, since a node may reach no such address."""

import threading

import pytest

from quantlab.records import ComparisonRequest, Placement, Settings
from quantlab.runs.cluster.column import Shared, work
from quantlab.runs.cluster.jobs import Cluster
from quantlab.runs.cluster.nodes import Node
from quantlab.runs.compare import variant_cache
from quantlab.runs.recorded import recorded_compare
from tests.served_stand_in import WORDS, Script, serving

SETTINGS = Settings(4, placement=Placement("cpu", "float32"))


@pytest.fixture(autouse=True)
def _nothing_left():
    yield
    variant_cache().drop_unused()


class Crew:
    """Nodes whose columns run in this process, one after the other; what each was asked is kept."""

    def __init__(self):
        self.asked = []

    def nodes(self):
        return [Node("one", "10.0.0.1", 4, 0, 10**12)]

    def share(self, shared):
        return shared

    def follow(self, asked, shared, stop):
        for task, _ in asked:
            self.asked.append(task.column)
            ended = yield from work(task, shared or Shared(), threading.Event())
            yield ended
            if task.column == "nf4":
                self.last(stop)

    def last(self, stop):
        """What happens once the last column on a node has ended."""


def test_a_served_column_is_asked_from_here_after_those_on_the_nodes():
    crew = Crew()
    with serving(Script()) as spec:
        request = ComparisonRequest("demo", ("fp32", spec, "nf4"), "Once upon", SETTINGS)
        found = list(recorded_compare(None, request, on=Cluster(crew)))[-1].comparison
    assert crew.asked == ["fp32", "nf4"]
    served = next(run for run in found.runs if run.served is not None)
    assert served.error is None and served.text == "".join(WORDS) and not served.node
    assert [run.error for run in found.runs] == [None] * 3 and found.run("nf4").differences


def test_a_served_column_of_a_run_that_was_stopped_is_not_asked():
    crew, script, stop = Crew(), Script(), threading.Event()
    crew.last = lambda told: told.set()
    with serving(script) as spec:
        request = ComparisonRequest("demo", ("fp32", spec, "nf4"), "Once upon", SETTINGS)
        before = len(script.asked)
        found = list(recorded_compare(None, request, stop=stop, on=Cluster(crew)))[-1].comparison
        assert len(script.asked) == before
    assert sorted(run.stopped for run in found.runs) == [False, False, True] and not found.run("nf4").stopped

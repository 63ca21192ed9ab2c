"""A real Ray with two nodes on this machine: the figures of one process, and what dies is told and tried again."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from quantlab.fidelity.texts import text
from quantlab.history import History
from quantlab.records import ComparisonRequest, Placement, QualityRequest, QualitySettings, Settings
from quantlab.records.events import Done, Loaded, Loading, Measuring, QualityDone, TriedAgain
from quantlab.records.swept import CellEnded, SweepAsked
from quantlab.runs.cluster.column import Ended, Task
from quantlab.runs.cluster.nodes import Need
from quantlab.runs.compare import variant_cache
from quantlab.runs.recorded import recorded_compare, recorded_quality, resumed
from quantlab.runs.sweep.outcome import outcome
from quantlab.runs.sweep.planning import jobs
from quantlab.runs.sweep.running import Progress, opened
from quantlab.runs.sweep.running import run as run_all
from tests.event_grammar import checked

pytestmark = pytest.mark.slow
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
#: What each node has: less than the large shape below takes.
MEMORY = 100_000_000
STORE = 80_000_000
PLACEMENT = Placement("cpu", "float32")
NAMES = ("fp32", "rtn-4", "nf4")
COMPARISON = ComparisonRequest("demo", NAMES, "Who is Sanna Corsa?", Settings(max_new_tokens=12, placement=PLACEMENT))
QUALITY = QualityRequest(
    "demo", NAMES, text("demo"), QualitySettings(windows=2, tasks=("demo_facts",), new_tokens=5, placement=PLACEMENT)
)
LONG = QualityRequest(
    "demo", NAMES, text("demo"), QualitySettings(windows=40, layers=False, noise_floor=False, placement=PLACEMENT)
)


@pytest.fixture(scope="module")
def local():
    """A head without room for columns, and two nodes with room for one each."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    head = {"num_cpus": 0, "memory": MEMORY, "object_store_memory": STORE, "include_dashboard": False}
    found = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    for cards in (0, 2):  # cards by name alone: nothing looks at them
        found.add_node(num_cpus=1, num_gpus=cards, memory=MEMORY, object_store_memory=STORE)
    found.wait_for_nodes()
    yield found
    found.shutdown()


@pytest.fixture(scope="module")
def cluster(local):
    from quantlab.runs.cluster import joined

    with joined(local.address) as found:
        yield found


@pytest.fixture(autouse=True)
def _all_given_back(request):
    """After each test the nodes have all their room again."""
    yield
    variant_cache().drop_unused()
    if "cluster" in request.fixturenames:
        crew, deadline = request.getfixturevalue("cluster").crew, time.monotonic() + 60
        while any(node.free_memory != node.memory for node in crew.nodes()):
            assert time.monotonic() < deadline, crew.nodes()
            time.sleep(0.2)


def actors(local) -> Iterator[psutil.Process]:
    """The processes of the columns that are at work, on any of the nodes."""
    for node in local.list_all_nodes():
        for info in node.all_processes.get("raylet", ()):
            with suppress(psutil.Error):
                for process in psutil.Process(info.process.pid).children(recursive=True):
                    with suppress(psutil.Error):
                        if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::Column"):
                            yield process


def test_a_comparison_is_the_same_as_in_one_process(cluster):
    here = list(recorded_compare(None, COMPARISON))[-1].comparison
    there = list(checked(recorded_compare(None, COMPARISON, on=cluster), race=True))[-1].comparison
    assert (there.reference, there.prompt_token_ids) == (here.reference, here.prompt_token_ids)
    for ours, theirs in zip(there.runs, here.runs, strict=True):
        assert not ours.error and ours.node.startswith("node-") and not theirs.node
        assert (ours.precision, ours.text, ours.token_ids) == (theirs.precision, theirs.text, theirs.token_ids)
        assert (ours.first_divergence, ours.identity) == (theirs.first_divergence, theirs.identity)
        assert [it.kld for it in ours.differences] == pytest.approx([it.kld for it in theirs.differences], abs=1e-7)
        assert ours.load.stored_bytes == theirs.load.stored_bytes and ours.decode_samples
    assert there.runs[1].differences and there.runs[1].differences[0].kld > 0


def test_a_quality_run_is_the_same_as_in_one_process_and_is_gone_on_with(cluster, tmp_path):
    here = list(recorded_quality(None, QUALITY))[-1].quality
    history = History(tmp_path / "history.sqlite")
    there = list(checked(recorded_quality(history, QUALITY, on=cluster), race=True))[-1].quality
    assert (there.reference, there.text, there.floor) == (here.reference, here.text, here.floor)
    pairs = [(ours, theirs) for ours, theirs in zip(there.runs, here.runs, strict=True)]
    for ours, theirs in pairs:
        assert not ours.error and ours.node and ours.identity == theirs.identity
        if ours.precision != here.reference:  # its own is what rounding makes of zero
            assert ours.fidelity.kld.mean == pytest.approx(theirs.fidelity.kld.mean, rel=1e-5)
        assert ours.fidelity.ppl.value == pytest.approx(theirs.fidelity.ppl.value, rel=1e-6)
        assert {k: v.correct for k, v in ours.tasks.items()} == {k: v.correct for k, v in theirs.tasks.items()}
        assert [it.flips_lost for it in ours.tasks.values()] == [it.flips_lost for it in theirs.tasks.values()]
        places = [(it.layer, it.module) for it in ours.layers]
        assert places == [(it.layer, it.module) for it in theirs.layers]
        assert [it.isolated for it in ours.layers] == pytest.approx([it.isolated for it in theirs.layers], rel=1e-4)
    assert there.noise_floor.kld.mean == pytest.approx(here.noise_floor.kld.mean, rel=1e-3)
    assert pairs[1][0].layers and pairs[1][0].tasks

    (entry,) = history.entries()
    assert entry.state == "done" and entry.finished == NAMES


def interrupted(history: History, request: QualityRequest, cluster) -> int:
    """Begin, stop when the first column after the reference is being measured; the entry."""
    stop = threading.Event()
    for event in recorded_quality(history, request, stop=stop, on=cluster):
        if isinstance(event, Measuring) and event.precision != "fp32":
            stop.set()
    return history.entries()[0].id


def test_stop_reaches_all_and_what_is_finished_stays(cluster, tmp_path):
    history, begun = History(tmp_path / "history.sqlite"), time.monotonic()
    entry = interrupted(history, LONG, cluster)
    assert time.monotonic() - begun < 240
    record = history.get(entry)
    assert [run.stopped for run in record.runs] == [False, True, True] and history.entry(entry).state == "stopped"
    assert record.runs[0].fidelity is not None
    again = [event for event in resumed(history, entry, on=cluster)]
    assert isinstance(again[-1], QualityDone) and not any(run.stopped for run in again[-1].quality.runs)
    assert not [it for it in again if isinstance(it, Loading) and it.precision == "fp32"], "it was measured already"


def test_a_node_that_dies_in_the_middle_costs_one_retry(cluster, local):
    here = list(recorded_quality(None, LONG))[-1].quality
    events, killed = [], None
    for event in checked(recorded_quality(None, LONG, on=cluster), race=True):
        events.append(event)
        reading = {it.precision for it in events if isinstance(it, Measuring) and it.stage == "text"}
        if (
            killed is None
            and {"rtn-4", "nf4"} <= reading | {it.precision for it in events if isinstance(it, Loaded)}
            and reading - {"fp32"}
        ):
            nodes = {node.id: node for node in cluster.crew.nodes()}
            killed = next(it for it in local.worker_nodes if nodes[it.node_id].free_memory < MEMORY)
            cards = nodes[killed.node_id].cards
            local.remove_node(killed, allow_graceful=False)
    local.add_node(num_cpus=1, num_gpus=int(cards), memory=MEMORY, object_store_memory=STORE)
    local.wait_for_nodes()
    tried = [event for event in events if isinstance(event, TriedAgain)]
    assert killed is not None and len(tried) == 1 and "tried once more elsewhere" in tried[0].why
    found = events[-1].quality
    assert not any(run.error or run.stopped for run in found.runs)
    for ours, theirs in zip(found.runs[1:], here.runs[1:], strict=True):
        assert ours.fidelity.kld.mean == pytest.approx(theirs.fidelity.kld.mean, rel=1e-5)
    noted = {run.precision: [note for note in run.notes if "second try" in note] for run in found.runs}
    assert {name for name, notes in noted.items() if notes} == {tried[0].precision}


def test_an_actor_that_is_killed_twice_is_the_error_of_its_column(cluster, local):
    """kill -9 whenever it is at work; the other columns go on."""
    events, killed = [], set()
    for event in recorded_compare(None, COMPARISON, on=cluster):
        events.append(event)
        if isinstance(event, Loading) and event.precision == "fp32" and len(killed) < 2:
            for process in actors(local):
                killed.add(process.pid)
                process.kill()
    assert len(killed) == 2 and len([it for it in events if isinstance(it, TriedAgain)]) == 1
    runs = {run.precision: run for run in events[-1].comparison.runs}
    assert runs["fp32"].error.startswith("It died twice")
    assert all(not runs[name].error and runs[name].text for name in ("rtn-4", "nf4"))


def test_what_no_node_can_hold_is_refused_before_it_loads(cluster):
    request = ComparisonRequest("shape:SmolLM2-135M", ("fp32", "bf16"), "Hello", Settings(1, placement=PLACEMENT))
    events = list(recorded_compare(None, request, on=cluster))
    assert isinstance(events[-1], Done) and not [it for it in events if isinstance(it, Loading | Loaded)]
    for column, size in zip(events[-1].comparison.runs, ("538 MB", "269 MB"), strict=True):
        assert f"No node of the cluster can hold {column.precision}: it takes {size}" in column.error
        assert column.error.count("has 100 MB of 100 MB") == 2 and "2 of 2 GPUs free" in column.error


def test_several_cards_of_one_node_are_held_together(cluster):
    """The cards are names alone: what is tried is that both are held while the column is at work, and given back."""
    settings = Settings(4, placement=PLACEMENT, reference="fp32")
    from quantlab import models
    from quantlab.settings import app_settings

    identity = models.resolve("demo", app_settings()).identity
    task = Task(ComparisonRequest("demo", ("fp32",), "Hello", settings), ("fp32",), "fp32", identity)
    seen, ended = [], []
    for event in cluster.crew.follow([(task, Need(0, 2, 10))], None, threading.Event()):
        if isinstance(event, Ended):
            ended.append(event)
        elif isinstance(event, Loading) and event.what != "waiting for a node":
            seen.append([node.free_cards for node in cluster.crew.nodes() if node.cards])
    assert seen and all(free == [0.0] for free in seen)
    assert not ended[0].run.error and ended[0].run.text
    too_many = [(task, Need(0, 3, 10))]
    (refused,) = cluster.crew.follow(too_many, None, threading.Event())
    assert "it takes 3 GPUs" in refused.run.error


def test_a_sweep_over_the_nodes_has_all_its_cells(cluster, tmp_path):
    """Several jobs at once: each job's columns share their reference, and none is lost."""
    asked = SweepAsked(Path("mine.yaml"), ("demo",), NAMES[:2], ("demo",), (), ("One", "Two"), 1, 4, device="cpu")
    planned, progress = jobs(asked), Progress()
    with opened(tmp_path) as history:
        events = list(run_all(history, planned, progress, on=cluster, at_once=cluster.at_once(2)))
        sweep = outcome(history, asked, planned, progress)
    assert cluster.at_once(2) == 1 + 2
    assert len([it for it in events if isinstance(it, CellEnded)]) == 6
    assert [cell.outcome for cell in sweep.cells] == ["done"] * 6 and sweep.missing == 0
    assert sweep.cells[1].kld > 0

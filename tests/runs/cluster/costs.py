"""The unit costs of a sweep over a cluster, on two nodes of this machine: `python -m tests.runs.cluster.costs`.

Prints the first table of docs/scale.md, and the totals that follow from it. A test holds the document to the latter.
"""

import os
import pickle
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

#: Bytes of the array that is put, fetched and read.
ARRAY = 64 * 2**20
REPEATS = 3


def totals(units: Mapping[str, float], case: Mapping[str, float]) -> dict[str, float]:
    """What a whole sweep costs, by name, from unit costs and the case (both as docs/scale.md names them)."""
    columns = case["precisions"]
    jobs = case["models"] * case["texts"]
    cells = jobs * columns
    rows = case["windows"] * case["scored tokens a window"] * case["vocabulary"] * 4
    # The reference's rows come here once, and go from here to each other column, on a node of its own at worst.
    through_asker = jobs * rows * columns
    weights = case["models"] * case["bytes of a model"] * columns
    return {
        "cells": cells,
        "rows of one job, GB": rows / 1e9,
        "rows through the machine that asks, TB": through_asker / 1e12,
        "weights onto nodes at worst, TB": weights / 1e12,
        "history, MB": cells * units["history, bytes a cell"] / 1e6,
        "events, GB": cells * units["events, bytes a cell"] / 1e9,
        "rows over the asker's link, h": through_asker / case["link, bytes/s"] / 3600,
        "weights over the nodes' links, h": weights / case["nodes"] / case["link, bytes/s"] / 3600,
        "starts of actors, h": cells * units["an actor until it works, s"] / case["nodes"] / 3600,
        "planning in one thread, h": jobs * units["planning a job, s"] / 3600,
    }


def measure() -> dict[str, float]:
    """The unit costs, by name, each the median of several."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    from quantlab.runs.cluster import joined

    sizes = {"memory": 500_000_000, "object_store_memory": 400_000_000}
    local = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **sizes})
    try:
        for _ in range(2):
            local.add_node(num_cpus=1, **sizes)
        local.wait_for_nodes()
        with joined(local.address) as cluster:
            return _store() | _jobs(cluster)
    finally:
        local.shutdown()


def _store() -> dict[str, float]:
    import numpy as np
    import ray

    array, puts, fetches = np.ones(ARRAY // 4, np.float32), [], []

    @ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
    def fetch(held: list) -> float:
        begun = time.perf_counter()
        ray.get(held[0])
        return time.perf_counter() - begun

    for _ in range(REPEATS):
        begun = time.perf_counter()
        held = ray.put(array)
        puts.append(time.perf_counter() - begun)
        fetches.append(ray.get(fetch.remote([held])))
    return {
        "object store, put, bytes/s": ARRAY / statistics.median(puts),
        "object store, fetch from another node, bytes/s": ARRAY / statistics.median(fetches),
    }


def _jobs(cluster) -> dict[str, float]:
    from quantlab.fidelity.texts import text
    from quantlab.history import History
    from quantlab.records import Placement, QualityRequest, QualitySettings
    from quantlab.records.events import Loading, Measured, QualityStarted
    from quantlab.runs.recorded import recorded_quality

    settings = QualitySettings(windows=8, layers=False, noise_floor=False, placement=Placement("cpu", "float32"))
    request = QualityRequest("demo", ("fp32", "rtn-4"), text("demo"), settings)
    planned, started, cells, told = [], [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        history = History(Path(folder) / "history.sqlite")
        before = history.used_bytes()
        for _ in range(REPEATS):
            begun, asked = time.perf_counter(), {}
            with closing(recorded_quality(history, request, on=cluster)) as events:
                for event in events:
                    now = time.perf_counter()
                    match event:
                        case QualityStarted():
                            planned.append(now - begun)
                        case Loading(precision=name, what="waiting for a node"):
                            asked[name] = now
                        case Loading(precision=name) if name in asked:
                            started.append(now - asked.pop(name))
                        case Measured():
                            cells.append(now - begun)
                            begun = now
                    told += len(pickle.dumps(event))
        kept = history.used_bytes() - before
    count = REPEATS * len(request.precisions)
    return {
        "planning a job, s": statistics.median(planned),
        "an actor until it works, s": statistics.median(started),
        "a cell of the demo, 8 windows, its actor included, s": statistics.median(cells),
        "events, bytes a cell": told / count,
        "history, bytes a cell": kept / count,
    }


def main() -> None:
    from quantlab.measure.machine import machine

    found, here = measure(), machine("cpu")
    print(f"{datetime.now(UTC):%Y-%m-%d}: {here.cpu}, {here.cores} cores, {here.system}; load {os.getloadavg()[0]:.1f}")
    for name, value in found.items():
        print(f"| {name} | {value:.3g} |")


if __name__ == "__main__":
    main()

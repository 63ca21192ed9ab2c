"""The fronts of a sweep, held against a plain search, and its exports."""

import csv
import io
import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from quantlab.records import Machine
from quantlab.records.swept import Cell, Front, Place, Sweep, SweepAsked
from quantlab.reporting.html.swept import MOST_EACH, shown_fronts, swept_html
from quantlab.runs.sweep.exported import COLUMNS, to_csv, to_json, without_paths
from quantlab.runs.sweep.outcome import fronts

MACHINE = Machine("Fake CPU", 2, 8_000_000_000, "cpu", 8_000_000_000, "Linux", None)


def a_cell(model: str, precision: str, nbytes: int, **figures) -> Cell:
    place = Place(model, precision, "text", figures.pop("read", "demo"))
    return Cell(place, "done", entry=1, stored_bytes=nbytes, **figures)


def beaten(front: Front, at: int) -> bool:
    """Whether another point is as good in both and better in one, tried one by one."""
    sign = -1 if front.measure == "accuracy" else 1
    mine = front.points[at]
    return any(
        it.stored_bytes <= mine.stored_bytes
        and sign * it.value <= sign * mine.value
        and (it.stored_bytes, it.value) != (mine.stored_bytes, mine.value)
        for it in front.points
    )


def some_cells() -> list[Cell]:
    draw = random.Random(0)
    return [
        a_cell(
            f"model-{m}",
            f"rtn-{p}",
            draw.randrange(10**6, 10**9),
            kld=draw.random(),
            kld_se=0.01,
            perplexity=5 + 10 * draw.random(),
            perplexity_se=0.1,
            read_as="one" if m < 3 else "other",
            accuracy={"demo_facts": draw.randrange(20) / 20},
            accuracy_se={"demo_facts": 0.1},
        )
        for m in range(5)
        for p in range(2, 9)
    ]


def test_nothing_on_a_front_is_beaten_and_everything_else_is():
    found = fronts(some_cells())
    assert len(found) == 1 + 2 + 5
    for front in found:
        assert 0 < sum(point.on_front for point in front.points) < len(front.points)
        for at, point in enumerate(front.points):
            assert point.on_front == (not beaten(front, at)), (front.measure, point)


def test_only_figures_that_mean_the_same_are_on_one_front():
    found = fronts(some_cells())
    accuracy, *others = found
    assert accuracy.measure == "accuracy" and len(accuracy.points) == 35 and accuracy.among == "all models"
    perplexities = [front for front in others if front.measure == "perplexity"]
    assert [len({it.model for it in front.points}) for front in perplexities] == [3, 2]
    distances = [front for front in others if front.measure == "mean KLD"]
    assert all({it.model for it in front.points} == {front.among} for front in distances)


def test_what_noise_decides_puts_nothing_on_a_front():
    floor = {"noise_floor": 0.01, "read_as": "one"}
    cells = [a_cell("m", "bf16", 200, kld=0.002, **floor), a_cell("m", "int8", 100, kld=0.009, **floor)]
    (front,) = fronts(cells)
    assert [(it.precision, it.on_front) for it in front.points] == [("bf16", False), ("int8", True)]


def a_sweep() -> Sweep:
    model = "/home/somebody/secret/model-a"
    done = a_cell(model, "fp32", 10, kld=0.0, kld_se=0.0, accuracy={"demo_facts": 0.5}, accuracy_se={"demo_facts": 0.1})
    failed = Cell(Place(model, "nf4", "text", "demo"), "failed", "It <b>broke</b>.", "=Run it again.")
    asked = SweepAsked(Path("/home/somebody/mine.yaml"), (model,), ("fp32", "nf4"), ("demo",))
    cells = (done, a_cell(model, "rtn-8", 5, kld=0.1, kld_se=0.01), failed)
    return Sweep("mine", asked, MACHINE, {"quantlab": "1"}, cells, fronts(cells), 2, datetime(2026, 1, 2, tzinfo=UTC))


def test_the_exports_have_every_cell_and_no_path():
    sweep = without_paths(a_sweep())
    data = json.loads(to_json(sweep))
    assert [cell["outcome"] for cell in data["cells"]] == ["done", "done", "failed"] and data["missing"] == 2
    rows = list(csv.DictReader(io.StringIO(to_csv(sweep))))
    assert rows[0].keys() == {*COLUMNS, "demo_facts.acc", "demo_facts.acc_se"}
    assert [row["kld"] for row in rows] == ["0.0", "0.1", ""] and rows[0]["demo_facts.acc"] == "0.5"
    assert rows[2]["advice"] == "'=Run it again.", "a spreadsheet would take it for a formula"
    for told in (to_json(sweep), to_csv(sweep), swept_html(sweep)):
        assert "somebody" not in told and "model-a" in told


def test_the_page_escapes_what_failed_and_draws_the_front():
    page = swept_html(without_paths(a_sweep()))
    assert "It &lt;b&gt;broke&lt;/b&gt;." in page and "<b>broke</b>" not in page
    assert 'data-chart="chart-1"' in page and "2 not measured yet" in page


def test_of_many_models_the_fronts_over_all_are_shown_alone():
    cells = [
        a_cell(f"m{i}", name, size, kld=kld, accuracy={"demo_facts": 0.5 - kld}, accuracy_se={"demo_facts": 0.1})
        for i in range(MOST_EACH + 1)
        for name, size, kld in (("fp32", 10, 0.0), ("nf4", 5, 0.1))
    ]
    sweep = replace(a_sweep(), cells=tuple(cells), fronts=fronts(cells))
    assert len(sweep.fronts) == 1 + MOST_EACH + 1 and [it.measure for it in shown_fronts(sweep)] == ["accuracy"]
    page = swept_html(sweep)
    assert f"These are {MOST_EACH + 1} here: report.json" in page and "Distance (mean KLD)" not in page

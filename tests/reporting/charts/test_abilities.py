"""Right answers at tasks: the lines hold the records' figures, and so does the twin."""

from dataclasses import replace

from quantlab.reporting.charts import abilities
from tests.quality_examples import quality


def test_each_task_has_a_line_with_its_accuracies():
    found = quality(errors={})
    drawn = abilities.figure(found)
    assert [trace.name for trace in drawn.data] == ["facts", "sums"]
    for trace, task in zip(drawn.data, found.tasks, strict=True):
        assert list(trace.x) == [run.precision for run in found.runs]
        assert list(trace.y) == [100 * run.tasks[task].acc for run in found.runs]
        assert list(trace.error_y.array) == [100 * run.tasks[task].acc_se for run in found.runs]
    looks = {(trace.marker.symbol, trace.line.dash) for trace in drawn.data}
    assert len(looks) == 2, "told apart by their colour alone"
    (line,) = drawn.layout.shapes
    assert line.y0 == line.y1 == 25


def test_the_twin_has_the_same_and_says_what_failed():
    found = quality()
    table = abilities.table(found)
    assert table.columns == ("precision", "facts", "sums")
    rows = dict((row[0], row[1:]) for row in table.rows)
    assert rows["fp32"][0].startswith("90.0 % ± ") and rows["int8"] == ("-", "-")
    assert "Guessing gets 25.0 %" in table.caption and "9.8 GB" in table.caption


def test_without_tasks_it_says_so():
    found = quality(errors={})
    bare = replace(
        found, settings=replace(found.settings, tasks=()), runs=tuple(replace(run, tasks={}) for run in found.runs)
    )
    assert abilities.figure(bare).layout.annotations[0].name == "empty"
    assert not abilities.figure(bare).data

"""The chart of a plan and its table, against the plan."""

import pytest

import quantlab
from quantlab.records import Card, Fit, Plan, Planned, units
from quantlab.reporting.charts import planned as chart

PARTS = {"embeddings": 100, "attention": 2_000, "mlp": 5_000, "norms": 10, "output_head": 0, "quantization": 300}


def plan(nbytes: int = 9_000, **more) -> Plan:
    fit = Fit(Card("a card", nbytes), 8_000, 1, 5, 6)
    one = Planned("nf4", 4.5, PARTS, "f16", 400, 190, (fit,))
    return Plan("it", 8_000, 10, None, 1, (one, Planned("awq-4", 4, {}, "", 0, 0, (), "cannot")), **more)


def test_the_bars_add_up_to_what_is_planned_and_the_line_is_the_card():
    drawn = chart.figure(plan())
    assert [trace.name for trace in drawn.data] == [
        "embeddings", "attention", "MLP", "norms", "scales", "KV cache", "activations",
    ]  # fmt: skip
    assert all(tuple(trace.y) == ("nf4",) for trace in drawn.data)
    assert sum(trace.x[0] for trace in drawn.data) == plan().precisions[0].total_bytes == 8_000
    (line,) = drawn.layout.shapes
    assert (line.x0, line.x1) == (9_000, 9_000) and drawn.layout.xaxis.range[1] >= 9_000
    assert [it.text for it in drawn.layout.annotations if it.name == "card"] == ["a card: 9,000 bytes"]


def test_a_card_far_larger_does_not_press_the_bars_together():
    drawn = chart.figure(plan(10**9))
    assert drawn.layout.shapes == () and drawn.layout.xaxis.range[1] < 10_000


def test_the_table_has_the_same_figures():
    found = chart.table(plan())
    row = dict(zip(found.columns, found.rows[0], strict=True))
    assert len(found.rows) == 1 and row["KV cache"] == "400 bytes" and row["KV cache as"] == "f16"
    assert row["together"] == "8,000 bytes" and row["scales"] == "300 bytes" and "estimate" in found.caption
    assert "a card has 9,000 bytes" in found.caption


def test_nothing_planned_is_said():
    refused = Plan("it", None, 10, None, 1, plan().precisions[1:])
    assert "None of these precisions" in chart.figure(refused).layout.annotations[0].text
    assert chart.table(refused).rows == ()


@pytest.mark.parametrize("name", ["bf16", "q4_k_m"])
def test_a_real_plan_is_drawn(name):
    found = quantlab.plan("shape:Mistral-7B-v0.3", [name], card=24)
    drawn = chart.figure(found)
    assert sum(trace.x[0] for trace in drawn.data) == found.precisions[0].total_bytes
    assert units.size(found.precisions[0].total_bytes) in drawn.layout.yaxis.ticktext[0]

"""What holds for every chart of quality, and that each shows its records' own numbers."""

import itertools
import math
import re
from dataclasses import replace
from functools import partial

import pytest

from quantlab.fidelity.summary import SAME_LAYERS
from quantlab.records import Quality, units
from quantlab.reporting.charts import confidence, flips, kld_spread, layers, quality_map
from quantlab.reporting.text import escaped
from tests.examples import ERRORS
from tests.quality_examples import MODULES, TASKS, fidelity, layer_errors, quality
from tests.reporting.charts.test_figures import HOSTILE, SAFE_TYPES, strings

FIGURES = (
    quality_map.figure, kld_spread.figure, confidence.figure, flips.figure, partial(layers.figure, precision="nf4"),
)  # fmt: skip
TABLES = (quality_map.table, kld_spread.table, confidence.table, flips.table)
WHOLE = ("fp32", "bf16", "nf4", "rtn-2")


@pytest.fixture(scope="module")
def example() -> Quality:
    return quality()


def row(table, precision: str) -> dict[str, str]:
    return dict(zip(table.columns, next(row for row in table.rows if row[0] == precision), strict=True))


@pytest.mark.parametrize("draw", FIGURES)
def test_only_what_the_page_draws_right(draw, example: Quality):
    drawn = draw(example)
    text = drawn.to_json()
    assert {trace.type for trace in drawn.data} <= SAFE_TYPES
    assert "oklch" not in text and not re.search(r"rgba?\([^,)]*[ /]", text)
    assert drawn.layout.title.text is None and drawn.layout.width is None
    assert drawn.layout.paper_bgcolor == drawn.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert "int8" not in text


@pytest.mark.parametrize("draw", FIGURES[:4])
def test_names_never_become_markup(draw, example: Quality):
    hostile = replace(
        example,
        floor=HOSTILE,
        runs=tuple(replace(run, precision=HOSTILE) if run.precision == "nf4" else run for run in example.runs),
    )
    drawn = draw(hostile).to_dict()
    shown = [{k: v for k, v in trace.items() if k not in ("y", "hovertemplate")} for trace in drawn["data"]]
    for axis in [key for key in drawn["layout"] if key.startswith("yaxis")]:
        drawn["layout"][axis].pop("tickvals", None)
        drawn["layout"][axis].pop("categoryarray", None)
    texts = strings(shown) + strings(drawn["layout"])
    assert not [text for text in texts if "<img" in text or "<b>" in text or "$" in text]
    assert [text for text in texts if "&lt;img" in text]


@pytest.mark.parametrize("tabulate", TABLES)
def test_the_twin_has_every_run_and_says_why_one_is_not_drawn(tabulate, example: Quality):
    stopped = quality(stopped="rtn-2")
    table = tabulate(stopped)
    assert {name[0] for name in table.rows} >= {run.precision for run in example.runs}
    assert {len(cells) for cells in table.rows} == {len(table.columns)} and table.caption
    failed = row(table, "int8")
    assert failed["note"] == " ".join(ERRORS["int8"])
    assert set(failed.values()) - {"int8", failed["note"], *TASKS} == {units.NONE}
    assert "stopped early" in row(table, "rtn-2")["note"]
    assert row(table, "fp32")["note"] == "the reference"


@pytest.mark.parametrize("draw", FIGURES[:3])
def test_nothing_to_draw_says_what_to_do(draw):
    def words(it: Quality) -> str:
        drawn = draw(it)
        assert len(drawn.data) == 0
        return drawn.layout.annotations[0].text.replace("<br>", " ")

    assert "A second precision" in words(quality(("fp32",)))
    assert "choose others" in words(quality(("fp32", "int8")))
    assert "yet" in words(quality(("fp32", "nf4"), stopped="nf4"))


@pytest.mark.parametrize("draw", FIGURES)
def test_odd_figures_are_drawn(draw):
    """No floor, zero and missing figures, a divergence that is no number, one point alone."""
    zero = {"nf4": {"fidelity": fidelity(0.0)}}
    nan = {"nf4": {"fidelity": replace(fidelity(0.05), kld=replace(fidelity(0.05).kld, mean=math.nan, se=math.nan))}}
    bare = {"nf4": {"load": None, "decode_tokens_per_s": None}}
    infinite = {
        "nf4": {"fidelity": replace(fidelity(0.05), kld=replace(fidelity(0.05).kld, se=math.nan, max=math.inf))}
    }
    for it in (quality(floor=False), quality(("fp32", "nf4"), errors={}), *(quality(runs=odd) for odd in
               (zero, nan, bare, infinite))):  # fmt: skip
        assert draw(it).to_json()
    for tabulate in TABLES:
        for odd in (zero, nan, bare, infinite):
            assert all(cell for cells in tabulate(quality(runs=odd)).rows for cell in cells[:-1])


def marks(drawn, row: int) -> dict[str, object]:
    axis = f"y{row}" if row > 1 else "y"
    return {t.name: t for t in drawn.data if t.mode == "markers" and (t.yaxis or "y") == axis}


def test_the_map_shows_memory_speed_and_divergence(example: Quality):
    drawn = quality_map.figure(example)
    for place, measure in ((1, lambda run: run.load.stored_bytes), (2, lambda run: run.decode_tokens_per_s)):
        found = marks(drawn, place)
        assert set(found) == {"fp32", "bf16", "nf4", "nf4-dq", "rtn-2"}
        for name, mark in found.items():
            run = example.run(name)
            assert mark.x == (measure(run),)
            if name != "fp32":
                assert mark.y == (run.fidelity.kld.mean,) and mark.error_y.array == (run.fidelity.kld.se,)
                assert f"{run.fidelity.kld.mean:.6g}" in mark.customdata[0][0]
    reference, bf16 = marks(drawn, 1)["fp32"], marks(drawn, 1)["bf16"]
    assert 0 < reference.y[0] < bf16.y[0] and "KLD 0 by definition" in reference.customdata[0][0]
    assert reference.y[0] == drawn.layout.yaxis.tickvals[drawn.layout.yaxis.ticktext.index("0")]
    assert (
        "not a difference" in bf16.customdata[0][0]
        and "not a difference" not in marks(drawn, 1)["nf4"].customdata[0][0]
    )
    names = [it.text for it in drawn.layout.annotations if it.name == "point"]
    assert sorted(names) == sorted([*marks(drawn, 1), *marks(drawn, 2)])


def test_the_band_is_the_noise_floor(example: Quality):
    drawn = quality_map.figure(example)
    band = next(trace for trace in drawn.data if trace.fill == "toself")
    assert max(band.y) == example.noise_floor.kld.mean and min(band.y) <= 10 ** drawn.layout.yaxis.range[0]
    assert units.nats(example.noise_floor.kld.mean) in band.name
    bare = quality_map.figure(quality(floor=False))
    assert not [trace for trace in bare.data if trace.fill == "toself"]
    assert "there is none" in " ".join(it.text.replace("<br>", " ") for it in bare.layout.annotations)


def test_error_bars_stay_on_the_axis():
    wide = replace(fidelity(0.05), kld=replace(fidelity(0.05).kld, se=0.2))
    drawn = quality_map.figure(quality(runs={"nf4": {"fidelity": wide}}))
    bar = marks(drawn, 1)["nf4"].error_y
    assert bar.array == (0.2,) and 0.05 - bar.arrayminus[0] >= 0.99 * 10 ** drawn.layout.yaxis.range[0]
    assert drawn.layout.yaxis.range[1] > math.log10(0.25)


def test_a_speed_has_a_bar_from_its_slowest_answer_to_its_fastest():
    drawn = quality_map.figure(
        quality(runs={"nf4": {"decode_samples": (90.0, 100.0, 130.0), "decode_tokens_per_s": 100.0}})
    )
    by_memory, by_speed = (trace for trace in drawn.data if trace.name == "nf4")
    assert not by_memory.error_x.visible and by_speed.error_x.visible
    assert (by_speed.error_x.arrayminus, by_speed.error_x.array) == ((10.0,), (30.0,))
    assert "90.000 to 130.000 in 3 answers" in by_speed.customdata[0][0]
    assert drawn.layout.xaxis2.range[1] > math.log10(400)


def test_the_front_takes_nothing_for_its_noise():
    made = (("a", 10, 0.0), ("b", 5, 5e-5), ("c", 4, 9e-5), ("d", 3, 0.1), ("e", 3.5, 0.2), ("f", 2, 0.5))
    points = [quality_map.Point(name, x, kld, 0.0) for name, x, kld in made]
    assert [it.precision for it in quality_map.front(points, 1e-4)] == ["f", "d", "c"]
    assert [it.precision for it in quality_map.front(points, None)] == ["f", "d", "c", "b", "a"]
    assert [it.precision for it in quality_map.front(points, None, more_is_better=True)] == ["a"]
    fast = [replace(point, x=20 - point.x) for point in points]
    assert [it.precision for it in quality_map.front(fast, 1e-4, more_is_better=True)] == ["c", "d", "f"]


def test_the_fronts_line_has_its_points_and_table(example: Quality):
    drawn, table = quality_map.figure(example), quality_map.table(example)
    for line, column, measure in zip(
        [trace for trace in drawn.data if trace.name == "Pareto front"],
        ("on the front of memory", "on the front of speed"),
        (lambda run: run.load.stored_bytes, lambda run: run.decode_tokens_per_s),
        strict=True,
    ):
        yes = {name[0] for name in table.rows if row(table, name[0])[column] == "yes"}
        assert {measure(example.run(name)) for name in yes} == set(line.x) and yes
        # Steps only: every piece is level or upright.
        pieces = list(itertools.pairwise(zip(line.x, line.y, strict=True)))
        assert all(one[0] == other[0] or one[1] == other[1] for one, other in pieces)
    assert row(table, "bf16")["against the noise floor"] == "within it: not a difference"
    assert row(table, "nf4")["against the noise floor"].endswith(" x")


def test_no_front_is_drawn_by_what_decides_nothing(example: Quality):
    def told(it: Quality) -> tuple[int, str, set[str]]:
        drawn, table = quality_map.figure(it), quality_map.table(it)
        fronts = sum(trace.name == "Pareto front" for trace in drawn.data)
        yes = {name for name in ("memory", "speed") if any(row(table, one[0])[f"on the front of {name}"] == "yes"
                                                            for one in table.rows)}  # fmt: skip
        return fronts, table.caption, yes

    assert told(example)[0] == 2 and "front" not in told(example)[1]
    fronts, caption, yes = told(quality(runs={"nf4": {"decode_samples": (373.0,), "decode_tokens_per_s": 373.0}}))
    assert (fronts, yes) == (1, {"memory"})
    assert caption.endswith("No front by speed is drawn. nf4: only one answer was timed.")
    few = {run.precision: {"fidelity": replace(run.fidelity, tokens=7)} for run in example.runs if run.fidelity}
    fronts, caption, yes = told(quality(runs=few))
    assert (fronts, yes) == (0, set()) and "from 7 positions only: says little" in caption


def test_a_lead_within_the_spread_puts_nothing_on_the_front():
    made = (("a", 100.0, 0.5), ("b", 99.0, 0.1), ("c", 50.0, 0.01))
    points = [quality_map.Point(name, x, kld, 0.0) for name, x, kld in made]

    def near(one: quality_map.Point, other: quality_map.Point) -> bool:
        return abs(one.x - other.x) < 5

    assert [it.precision for it in quality_map.front(points, None, True)] == ["c", "b", "a"]
    assert [it.precision for it in quality_map.front(points, None, True, near)] == ["c", "b"]


def test_without_speeds_there_is_one_map():
    slow = {name: {"decode_tokens_per_s": None} for name in ("fp32", "bf16", "nf4", "nf4-dq", "rtn-2")}
    drawn = quality_map.figure(quality(runs=slow))
    assert not marks(drawn, 2) and len(marks(drawn, 1)) == 5
    assert row(quality_map.table(quality(runs=slow)), "nf4")["on the front of speed"] == units.NONE


def test_the_spread_shows_every_quantile(example: Quality):
    drawn = kld_spread.figure(example)
    for title, field in (("median", "median"), ("mean", "mean"), ("90 %", "p90"), ("99 %", "p99"), ("99.9 %", "p999"),
                         ("largest", "max")):  # fmt: skip
        trace = next(it for it in drawn.data if it.name == title and it.x[0] is not None)
        shown = dict(zip(trace.y, trace.x, strict=True))
        assert shown["nf4"] == getattr(example.run("nf4").fidelity.kld, field)
        assert shown["\0noise floor"] == getattr(example.noise_floor.kld, field)
    cells = row(kld_spread.table(example), "nf4")
    kld = example.run("nf4").fidelity.kld
    assert cells["median KLD"] == units.number(kld.median) and cells["99.9 % below"] == units.number(kld.p999)
    assert cells["mean KLD, with standard error"].startswith(f"{units.number(kld.mean)} ± ")
    assert row(kld_spread.table(example), "noise floor")["note"] == example.floor


def test_a_perplexity_below_the_references_is_noise():
    lower = replace(fidelity(0.05), ppl=replace(fidelity(0.05).ppl, ratio=0.998))
    table = kld_spread.table(quality(runs={"nf4": {"fidelity": lower}}))
    cells = row(table, "nf4")
    assert cells["perplexity against the reference's"].startswith("0.99800 ± ")
    assert cells["note"] == "perplexity below the reference's is noise"
    assert not re.search(r"\bbetter\b", " ".join(strings(table.rows)) + table.caption)


def test_the_buckets_are_the_records_own(example: Quality):
    kld, same = confidence.figure(example).data
    assert list(kld.y) == ["bf16", "nf4", "nf4-dq", "rtn-2"] and len(kld.x) == 5
    for place, name in enumerate(kld.y):
        found = example.run(name).fidelity.buckets
        assert [10**z for z in kld.z[place]] == pytest.approx([it.kld for it in found])
        assert list(same.z[place]) == pytest.approx([1 - it.same_top for it in found])
        assert f"{found[2].kld:.6g}" in kld.customdata[place][2][0]
    cells = list(row(confidence.table(example), "nf4").values())
    found = example.run("nf4").fidelity.buckets
    assert cells[1:6] == [units.number(it.kld) for it in found]
    assert cells[6:11] == [units.percent(it.same_top) for it in found]
    hollow = replace(found[0], tokens=0, kld=None, same_top=None)
    odd = quality(runs={"nf4": {"fidelity": replace(fidelity(0.05), buckets=(hollow, *found[1:]))}})
    assert confidence.figure(odd).data[0].text[1][0] == "" and row(confidence.table(odd), "nf4")["note"] == ""


def test_flips_go_both_ways(example: Quality):
    drawn = flips.figure(example, "demo_sums")
    lost, won = (trace for trace in drawn.data if trace.type == "bar")
    for place, name in enumerate(lost.y):
        score = example.run(name).tasks["demo_sums"]
        assert (-lost.x[place], won.x[place]) == (score.flips_lost, score.flips_won)
        assert escaped(flips.p_text(score.mcnemar_p)) in drawn.layout.yaxis2.ticktext[place]
    assert list(lost.y) == ["bf16", "nf4", "nf4-dq", "rtn-2"]
    points = {t.y[0]: t for t in drawn.data if t.type == "scatter"}
    score = example.run("nf4").tasks["demo_sums"]
    assert (points["nf4"].x[0], points["nf4"].error_x.array[0]) == (score.acc, score.acc_se) and "fp32" in points
    cells = row(flips.table(example), "nf4")
    assert (cells["flips lost"], cells["McNemar's p"]) == (units.percent(score.flips_lost), f"{score.mcnemar_p:.3f}")
    assert len(flips.table(example).rows) == len(TASKS) * len(example.runs)
    with pytest.raises(KeyError):
        flips.figure(example, "hellaswag")


def test_no_task_and_no_answer():
    bare = quality()
    silent = replace(bare, runs=tuple(replace(run, tasks={}) for run in bare.runs))
    none = replace(silent, settings=replace(bare.settings, tasks=()))
    assert "No task" in flips.figure(none).layout.annotations[0].text and flips.table(none).rows == ()
    assert len(flips.figure(silent).data) == 0
    alone = quality(("fp32",))
    assert not [trace for trace in flips.figure(alone).data if trace.type == "bar"]


@pytest.mark.parametrize("value", ["isolated", "propagated"])
def test_layers_show_where_the_error_arises(example: Quality, value: str):
    heat = layers.figure(example, "nf4", value).data[0]
    found = {(it.module, it.layer): it for it in example.run("nf4").layers}
    assert tuple(heat.y) == MODULES and tuple(heat.x) == (0, 1, 2)
    for place, module in enumerate(heat.y):
        for layer in heat.x:
            assert 10 ** heat.z[place][layer] == pytest.approx(min(1.0, getattr(found[module, layer], value)))
    assert (heat.zmin, heat.zmax) == (-4.0, 0.0)
    rows = layers.table(example, "nf4").rows
    assert len(rows) == len(found) and rows[0][2] == units.percent(found[MODULES[0], 0].isolated)


def test_layers_that_are_not_there(example: Quality):
    assert "is the reference" in layers.figure(example, "fp32").layout.annotations[0].text.replace("<br>", " ")
    assert ERRORS["int8"][0] in layers.figure(example, "int8").layout.annotations[0].text.replace("<br>", " ")
    assert layers.table(example, "int8").caption.endswith(" ".join(ERRORS["int8"]))
    with pytest.raises(ValueError):
        layers.figure(example, "nf4", "cosine")
    with pytest.raises(KeyError):
        layers.figure(example, "nf5")


def test_of_the_references_own_weights_no_layer_has_an_error():
    none = tuple(replace(it, isolated=0.0, propagated=0.0) for it in layer_errors("nf4"))
    record = quality(("fp32", "nf4"), errors={}, runs={"nf4": {"layers": none}})
    said = layers.figure(record, "nf4").layout.annotations[0].text.replace("<br>", " ")
    assert "its weights are the reference's" in said.replace("&#x27;", "'").replace("&#39;", "'")
    assert layers.table(record, "nf4").rows == () and SAME_LAYERS in layers.table(record, "nf4").caption
    some = replace(record, runs=(record.runs[0], replace(record.runs[1], layers=(*none[1:], *layer_errors("nf4")[:1]))))
    assert layers.table(some, "nf4").rows

"""What holds for every chart, and that each shows its records' own numbers."""

import math
import re
from dataclasses import replace

import pytest

from quantlab.measure import trust
from quantlab.measure.statistics import mean, median, percentile
from quantlab.records import Comparison, Peak, Run, units
from quantlab.reporting.charts import difference, latency, memory
from quantlab.reporting.text import visible
from tests.examples import ERRORS, QUIET, example_comparison

FIGURES = (
    memory.figure,
    latency.figure,
    latency.speeds,
    difference.figure,
    difference.summary,
    difference.probabilities,
)
TABLES = (memory.table, latency.table, latency.speeds_table, difference.table)
SAFE_TYPES = {"bar", "scatter", "heatmap", "violin", "box"}
HOSTILE = '<img src=x onerror="alert(1)"><b>&lt;$x^2$'


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return example_comparison()


@pytest.fixture(scope="module")
def failed() -> Comparison:
    names = ("fp32", "int8", "nf4")
    return example_comparison(names, {name: ERRORS["int8"] for name in names})


def changed(comparison: Comparison, precision: str, **figures: object) -> Comparison:
    runs = (replace(run, **figures) if run.precision == precision else run for run in comparison.runs)
    return replace(comparison, runs=tuple(runs))


def strings(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for it in value.values() for text in strings(it)]
        case list() | tuple():
            return [text for it in value for text in strings(it)]
    return []


@pytest.mark.parametrize("draw", FIGURES)
def test_only_what_the_page_draws_right(draw, comparison: Comparison):
    drawn = draw(comparison)
    text = drawn.to_json()
    assert {trace.type for trace in drawn.data} <= SAFE_TYPES
    assert "oklch" not in text and not re.search(r"rgba?\([^,)]*[ /]", text)
    assert drawn.layout.title.text is None and drawn.layout.width is None
    assert drawn.layout.paper_bgcolor == drawn.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert not [axis for axis in drawn.to_dict()["layout"].values() if isinstance(axis, dict) and "overlaying" in axis]


@pytest.mark.parametrize("draw", FIGURES)
def test_a_failed_run_is_not_drawn(draw, comparison: Comparison):
    assert "int8" not in draw(comparison).to_json()


@pytest.mark.parametrize("tabulate", TABLES)
def test_the_twin_says_why_a_run_is_not_drawn(tabulate, comparison: Comparison):
    table = tabulate(comparison)
    row = next(row for row in table.rows if row[0] == "int8")
    assert row[1:-1] == (units.NONE,) * (len(table.columns) - 2)
    assert row[-1] == " ".join(ERRORS["int8"])
    assert "stopped early" in next(row for row in table.rows if row[0] == "rtn-2")[-1]


@pytest.mark.parametrize("tabulate", TABLES)
def test_every_row_has_every_cell(tabulate, comparison: Comparison, failed: Comparison):
    for it in (comparison, failed):
        table = tabulate(it)
        assert [row[0] for row in table.rows] == [run.precision for run in it.runs]
        assert {len(row) for row in table.rows} == {len(table.columns)} and table.caption
        assert all(cell for row in table.rows for cell in row[:-1])


@pytest.mark.parametrize("draw", FIGURES)
def test_nothing_to_draw_says_what_to_do(draw, failed: Comparison):
    drawn = draw(failed)
    assert len(drawn.data) == 0 and "choose" in drawn.layout.annotations[0].text


@pytest.mark.parametrize("draw", (difference.figure, difference.summary, difference.probabilities))
def test_one_answer_alone_asks_for_a_second(draw):
    assert "A second precision" in draw(example_comparison(("fp32",))).layout.annotations[0].text


@pytest.mark.parametrize("draw", FIGURES)
def test_prompts_and_names_never_become_markup(draw, comparison: Comparison):
    def hostile(run: Run) -> Run:
        name = HOSTILE if run.precision == "nf4" else run.precision
        notes = run.load and replace(run.load, notes=(HOSTILE,))
        return replace(run, precision=name, load=notes,
                       differences=tuple(replace(it, token=HOSTILE) for it in run.differences))  # fmt: skip

    drawn = draw(replace(comparison, runs=tuple(map(hostile, comparison.runs)))).to_dict()
    # Positions on a category axis are data; what plotly writes comes from the labels.
    shown = [{k: v for k, v in trace.items() if k not in ("y", "hovertemplate")} for trace in drawn["data"]]
    for axis in [key for key in drawn["layout"] if key.startswith("yaxis")]:
        drawn["layout"][axis].pop("tickvals", None)
        drawn["layout"][axis].pop("categoryarray", None)
    texts = strings(shown) + strings(drawn["layout"])
    assert not [text for text in texts if "<img" in text or "<b>" in text or "$" in text]
    assert [text for text in texts if "&lt;img" in text]
    assert not [trace["hovertemplate"] for trace in drawn["data"] if HOSTILE in trace.get("hovertemplate", "")]


def test_memory_parts_add_up(comparison: Comparison):
    drawn = memory.figure(comparison)
    bars = [trace for trace in drawn.data if trace.type == "bar"]
    for column, name in enumerate(bars[0].y):
        load = comparison.run(name).load
        assert sum(bar.x[column] for bar in bars) == load.stored_bytes
        assert units.size(load.stored_bytes) in drawn.layout.yaxis.ticktext[column]
    marks = {trace.name: dict(zip(trace.y, trace.x, strict=True)) for trace in drawn.data if trace.type == "scatter"}
    assert marks["while running"] == {name: comparison.run(name).load.running_bytes for name in ("nf4", "fp4")}
    assert marks["peak (estimate)"] == {name: comparison.run(name).peak.bytes for name in bars[0].y}
    assert drawn.layout.xaxis.range[1] > max(marks["peak (estimate)"].values())


def test_memory_table_shows_the_same(comparison: Comparison):
    table = memory.table(comparison)
    row = dict(zip(table.columns, next(row for row in table.rows if row[0] == "nf4"), strict=True))
    run = comparison.run("nf4")
    assert row["stored"] == units.size(run.load.stored_bytes) != row["running"] == units.size(run.load.running_bytes)
    assert row["peak"] == f"{units.size(run.peak.bytes)} (estimate)"
    assert row["KV cache"] == units.size(run.kv_cache_bytes)
    assert row["scales"] == units.size(run.load.parts["quantization"])
    assert (row["bits per weight, quantized layers"], row["note"]) == ("4.50 bits", run.load.notes[0])


def test_a_peak_far_beyond_the_bars_stands_at_the_edge_with_its_figure(comparison: Comparison):
    drawn = memory.figure(changed(comparison, "nf4", peak=Peak(resident=10**9)))
    peaks = next(trace for trace in drawn.data if trace.name == "peak (estimate)")
    place = peaks.y.index("nf4")
    assert peaks.x[place] < drawn.layout.xaxis.range[1] < 10**9
    assert peaks.text[place] == "1.00 GB" and "1,000,000,000 bytes" in peaks.customdata[place][1]
    assert "beyond the edge" in drawn.layout.annotations[0].text


def test_on_cuda_the_peak_is_no_estimate_and_all_three_figures_are_there():
    comparison = example_comparison(cuda=True)
    peaks = next(trace for trace in memory.figure(comparison).data if trace.name == "peak")
    peak = comparison.run("fp32").peak
    assert all(f"{n:,} bytes" in peaks.customdata[0][1] for n in (peak.allocated, peak.reserved, peak.process))
    assert "estimate" not in str(memory.table(comparison).rows)


def test_latency_holds_the_raw_samples(comparison: Comparison):
    drawn = latency.figure(comparison)
    boxes = {trace.name: trace.x for trace in drawn.data if trace.type == "box"}
    assert boxes == {run.precision: run.timing.itl_s for run in comparison.runs if run.timing}
    first, speed = (trace for trace in drawn.data if trace.type == "bar")
    medians, late = (trace for trace in drawn.data if trace.type == "scatter")
    for i, name in enumerate(first.y):
        run = comparison.run(name)
        timing = run.timing
        assert (first.x[i], speed.x[i]) == (run.ttft_s, run.decode_tokens_per_s)
        assert speed.x[i] == median(run.decode_samples) and speed.x[i] - speed.error_x.arrayminus[i] == pytest.approx(
            min(run.decode_samples)
        )
        assert (medians.x[i], late.x[i]) == (median(timing.itl_s), percentile(timing.itl_s, 95))
        shown = [drawn.layout[axis].ticktext[i].split("  ")[1] for axis in ("yaxis", "yaxis2", "yaxis3")]
        assert shown == [f"{units.seconds(run.ttft_s)} ± 2 %", units.seconds(medians.x[i]), trust.speed(run)]


def test_latency_table_shows_the_same(comparison: Comparison):
    rows = {row[0]: dict(zip(latency.COLUMNS, row, strict=True)) for row in latency.table(comparison).rows}
    run, reference = comparison.run("nf4"), comparison.run("fp32")
    timing = run.timing
    wanted = ("nf4", units.seconds(run.load.load_s), "disk, already quantized", units.seconds(timing.warmup_ttft_s),
              f"{units.seconds(run.ttft_s)} ± 2 %", units.seconds(median(timing.itl_s)),
              units.seconds(percentile(timing.itl_s, 95)), f"{units.rate(run.decode_tokens_per_s)} ± 2 %",
              units.rate(timing.prefill_tokens_per_s), units.percent(run.bandwidth_share),
              units.ratio(run.decode_tokens_per_s / reference.decode_tokens_per_s), "")  # fmt: skip
    assert tuple(rows["nf4"].values()) == wanted
    assert rows["fp32"]["decode speed against the reference"] == "1.00 x"


def test_latency_claims_no_speed_that_is_in_doubt(comparison: Comparison):
    """The note beneath the chart, the table's caption, its ratios and its notes."""

    def note(shown: Comparison) -> str:
        (found,) = (it.text for it in latency.figure(shown).layout.annotations if it.name == "note")
        assert found.replace("<br>", " ") in latency.table(shown).caption
        return found.replace("<br>", " ")

    finished = replace(comparison, runs=tuple(run for run in comparison.runs if not run.stopped and not run.error))
    fastest = max(finished.runs, key=lambda run: run.decode_tokens_per_s)
    assert note(finished).startswith(f"Fastest: {fastest.precision}, {trust.speed(fastest)} in 3 answers")
    busy = changed(finished, "nf4", cpu=replace(QUIET, others_s=2.1))
    why = "the machine was busy: other programs took 1.4 of 2 cores while it was timed"
    assert note(busy) == f"Which is the fastest is not said. nf4: {why}."
    row = dict(zip(latency.COLUMNS, next(it for it in latency.table(busy).rows if it[0] == "nf4"), strict=True))
    assert row["decode speed against the reference"] == units.NONE and row["note"] == f"speed not compared: {why}"


def test_a_few_positions_are_marked_in_the_difference(comparison: Comparison):
    short = example_comparison(("fp32", "nf4"), errors={}, stopped=None, count=7)
    (note,) = (it.text for it in difference.summary(short).layout.annotations if it.name == "note")
    assert note.replace("<br>", " ") == "These figures are from 7 positions only: says little."
    assert difference.table(short).rows[1][-1] == "from 7 positions only: says little"
    assert "positions" not in difference.summary(comparison).to_json() + str(difference.table(comparison).rows)


def test_a_race_says_that_its_times_do_not_count(comparison: Comparison):
    race = example_comparison(race=True)
    notes = [it.text.replace("<br>", " ") for it in latency.figure(race).layout.annotations if it.name == "note"]
    assert len(notes) == 1 and "do not count" in notes[0] and "do not count" in latency.table(race).caption
    assert "do not count" not in latency.figure(comparison).to_json() + latency.table(comparison).caption


def test_one_token_has_no_gaps(comparison: Comparison):
    one = changed(comparison, "nf4", timing=replace(comparison.run("nf4").timing, itl_s=()))
    drawn = latency.figure(one)
    assert "nf4" not in [trace.name for trace in drawn.data]
    assert "nf4" in drawn.data[0].y and drawn.layout.yaxis2.ticktext[2].endswith(units.NONE)
    assert next(row for row in latency.table(one).rows if row[0] == "nf4")[5] == units.NONE


def test_a_hiccup_does_not_squeeze_the_other_gaps(comparison: Comparison):
    timing = comparison.run("nf4").timing
    drawn = latency.figure(changed(comparison, "nf4", timing=replace(timing, itl_s=(*timing.itl_s, 2.5))))
    assert drawn.layout.xaxis2.range[1] < 0.5 and "1 longer gap, up to 2.50 s" in drawn.layout.xaxis2.title.text


def test_the_heat_map_holds_every_token(comparison: Comparison):
    heat, tops, partings = difference.figure(comparison).data
    assert list(heat.y) == ["bf16", "nf4", "fp4"]
    for name, row in zip(heat.y, heat.z, strict=True):
        klds = [it.kld for it in comparison.run(name).differences]
        clipped = [min(max(kld, difference.FLOOR), difference.CEILING) for kld in klds]
        assert [10**z for z in row] == pytest.approx(clipped)
    others = {(run.precision, i) for run in comparison.runs for i, it in enumerate(run.differences) if not it.same_top}
    assert set(zip(tops.y, tops.x, strict=True)) == others != set()
    assert dict(zip(partings.y, partings.x, strict=True)) == {
        run.precision: run.first_divergence.index for run in comparison.runs if run.differences and run.first_divergence
    }
    it = comparison.run("nf4").differences[6]
    hover = heat.customdata[1][6][0]
    assert f"token 6: {visible(it.token)}<br>" in hover
    assert all(f"{figure:.6g}" in hover for figure in (100 * it.probability, 100 * it.reference_probability, it.kld))
    assert f"number {it.rank}" in hover and not it.same_top


def test_answers_of_unlike_length_and_kld_that_is_no_number(comparison: Comparison):
    short = comparison.run("nf4").differences[:5]
    broken = (replace(short[0], kld=math.nan), replace(short[1], kld=math.inf), *short[2:])
    odd = changed(comparison, "nf4", differences=broken)
    heat = difference.figure(odd).data[0]
    assert heat.z[1][0] is None and heat.z[1][1] == 1.0 and set(heat.z[1][5:]) == {None}
    assert {len(row) for row in heat.z} == {len(row) for row in heat.customdata} == {48}
    assert next(row for row in difference.table(odd).rows if row[0] == "nf4")[1:4] == ("NaN nats",) * 3
    for draw in (difference.summary, difference.probabilities):
        draw(odd).to_json()


def test_summary_and_table_agree(comparison: Comparison):
    shares, klds = difference.summary(comparison).data
    rows = {row[0]: row for row in difference.table(comparison).rows}
    for i, name in enumerate(shares.y):
        found = comparison.run(name).differences
        assert shares.x[i] == sum(it.same_top for it in found) / len(found)
        assert klds.x[i] == mean([it.kld for it in found])
        assert (rows[name][4], rows[name][1]) == (units.percent(shares.x[i]), units.nats(klds.x[i]))
        assert rows[name][3] == units.nats(max(it.kld for it in found))
    assert rows["fp32"][-1] == "the reference" and rows["bf16"][5] == "none"
    assert rows["nf4"][5] == f"token {comparison.run('nf4').first_divergence.index}"


def test_probability_lines_and_token_table_agree(comparison: Comparison):
    reference, *lines, parted = difference.probabilities(comparison).data
    found = comparison.run("nf4").differences
    line = next(line for line in lines if line.name == "nf4")
    assert line.y == tuple(it.probability for it in found)
    assert reference.y == tuple(it.reference_probability for it in found) and reference.name == "fp32 (reference)"
    assert (parted.x[0], parted.y[0]) == (6, found[6].probability)
    table = difference.token_table(comparison, "nf4")
    assert len(table.rows) == len(found) and table.columns == ("token", "text", "probability",
        "probability by the reference", "same most likely token", "rank under the reference", "KLD")  # fmt: skip
    assert table.rows[6] == ("6", "␣in", units.percent(found[6].probability),
        units.percent(found[6].reference_probability), "no", "2", units.nats(found[6].kld))  # fmt: skip
    assert difference.token_table(comparison, "int8").caption.endswith(" ".join(ERRORS["int8"]))
    with pytest.raises(KeyError):
        difference.token_table(comparison, "nf5")


def test_two_columns_leave_the_heat_map_room():
    """With one row the legend and the colour bar once left no room, and plotly drew nothing."""
    one, three = (
        difference.figure(example_comparison(precisions=names, errors={}, stopped=None))
        for names in (("fp32", "nf4"), ("fp32", "nf4", "fp4", "int8"))
    )
    assert one.layout.height == three.layout.height >= 260


def test_speeds_alone_with_their_twin():
    made = example_comparison()
    (bars,) = latency.speeds(made).data
    there = [run for run in made.runs if run.timing is not None]
    assert list(bars.y) == [run.precision for run in there]
    assert list(bars.x) == [run.decode_tokens_per_s for run in there]
    table = latency.speeds_table(made)
    assert [row[0] for row in table.rows] == [run.precision for run in made.runs]
    for run, row in zip(made.runs, table.rows, strict=True):
        assert row[1] == (trust.speed(run) if run.timing else "-")

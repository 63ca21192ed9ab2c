"""CSV and Markdown: a row for each run, the records' own figures, and nothing that a reader takes for code."""

import csv
import io
import json
from dataclasses import replace

import pytest

from quantlab.export import quality_data, to_csv, to_markdown
from quantlab.export.tables import COMPARISON_COLUMNS, QUALITY_COLUMNS, TASK_COLUMNS
from quantlab.measure import trust
from quantlab.measure.statistics import mean, median, percentile
from quantlab.records import Quality
from tests.examples import QUIET, example_comparison
from tests.export.drawing import example_quality

HOSTILE = "=HYPERLINK(1)|<img src=x>\n# `not` *this*"


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_comparison_is_a_row_for_each_run():
    comparison = example_comparison()
    found = rows(to_csv(comparison))
    assert tuple(found[0]) == COMPARISON_COLUMNS
    assert [row["precision"] for row in found] == [run.precision for run in comparison.runs]
    for row, run in zip(found, comparison.runs, strict=True):
        if run.error:
            assert row["error"] == run.error and row["stored_bytes"] == row["itl_median_s"] == ""
            continue
        assert int(row["stored_bytes"]) == run.load.stored_bytes
        assert float(row["itl_median_s"]) == pytest.approx(median(run.timing.itl_s))
        assert float(row["itl_p95_s"]) == pytest.approx(percentile(run.timing.itl_s, 95))
        assert float(row["decode_tokens_per_s"]) == run.timing.decode_tokens_per_s
        assert float(row["decode_median_tokens_per_s"]) == median(run.decode_samples)
        assert float(row["ttft_median_s"]) == median(run.ttft_samples) and row["answers_timed"] == "3"
        assert float(row["decode_spread"]) == pytest.approx(trust.spread(run.decode_samples))
        assert row["speed_doubt"] == "" and row["positions"] == str(len(run.differences) or "")
        assert row["text"] == run.text and int(row["stopped"]) == run.stopped
        if run.differences:
            assert float(row["kld_mean"]) == pytest.approx(mean([it.kld for it in run.differences]))


@pytest.mark.parametrize("record", (example_comparison(("fp32", "nf4"), {}, None, 7), example_quality(("fp32", "nf4"))))
def test_a_figure_that_bears_no_claim_says_so(record):
    reference, other = record.runs
    if isinstance(record, Quality):
        other = replace(other, fidelity=replace(other.fidelity, tokens=7))
    other = replace(other, cpu=replace(QUIET, others_s=2.1))
    record = replace(record, runs=(reference, other))
    why = "the machine was busy: other programs took 1.4 of 2 cores while it was timed"
    row = rows(to_csv(record))[1]
    assert row["speed_doubt"] == why and row["positions"] == "7"
    line = to_markdown(record).strip().split("\n")[-1]
    assert f"speed not compared: {why}; KLD and same top from 7 positions only: says little" in line


def test_one_gap_is_its_own_quantile():
    comparison = example_comparison(("fp32",), count=2)
    assert float(rows(to_csv(comparison))[0]["itl_p95_s"]) == comparison.runs[0].timing.itl_s[0]


def test_a_quality_run_is_a_row_for_each_run_with_its_tasks_last():
    quality = example_quality(failed="int8")
    found = rows(to_csv(quality))
    assert tuple(found[0]) == (*QUALITY_COLUMNS, *(f"demo_facts.{name}" for name in TASK_COLUMNS))
    run, row = quality.run("nf4"), found[2]
    assert float(row["kld_mean"]) == run.fidelity.kld.mean and float(row["kld_p999"]) == run.fidelity.kld.p999
    assert float(row["kld_reverse_mean"]) == run.fidelity.kld_reverse.mean
    assert float(row["ppl"]) == run.fidelity.ppl.value and float(row["ppl_ratio_se"]) == run.fidelity.ppl.ratio_se
    assert float(row["delta_p_rms"]) == run.fidelity.delta_p_rms
    assert float(row["demo_facts.flips_lost"]) == 0.06 and row["text"] == quality.text.name
    assert float(row["noise_floor_kld"]) == quality.noise_floor.kld.mean
    assert found[1]["error"].startswith("Out of memory") and found[1]["kld_mean"] == ""
    assert found[0]["demo_facts.flips_lost"] == ""


def test_a_spreadsheet_runs_no_formula_of_a_prompt():
    cell = rows(to_csv(replace(example_comparison(), prompt=HOSTILE)))[0]["prompt"]
    assert cell == f"'{HOSTILE}"
    assert float(rows(to_csv(example_quality()))[2]["delta_p_mean"]) < 0


@pytest.mark.parametrize("quality", (False, True))
def test_a_markdown_table_has_a_line_for_each_run_and_no_markup_of_its_content(quality: bool):
    record = example_quality() if quality else example_comparison(errors={"int8": (HOSTILE, "Choose | another.")})
    record = replace(record, text=replace(record.text, name=HOSTILE)) if quality else replace(record, prompt=HOSTILE)
    lines = to_markdown(record).split("\n")
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == len(record.runs) + 2
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert not any(line.startswith("# ") for line in lines)
    assert not any("<img" in line.replace("\\<", "") for line in lines)
    assert "Example CPU" in "".join(lines)


def test_the_quality_json_has_the_names_of_its_figures():
    data = json.loads(json.dumps(quality_data(example_quality()), allow_nan=False))
    assert set(data) >= set("model reference text tokens machine versions noise_floor runs".split())
    run = data["runs"][2]
    assert set(run) >= set("precision error stored_bytes decode_tokens_per_s fidelity tasks".split())
    assert set(run["fidelity"]) >= set("kld kld_reverse same_top delta_p ppl nonfinite".split())
    assert set(run["fidelity"]["kld"]) == set("mean se median p90 p99 p999 max buckets".split())
    assert set(run["fidelity"]["delta_p"]) == {"mean", "rms"}
    assert set(run["fidelity"]["ppl"]) == {"value", "se", "ratio", "ratio_se"}
    assert set(run["tasks"]["demo_facts"]) >= set(TASK_COLUMNS)
    assert data["tokens"] == data["text"]["tokens"] and len(run["fidelity"]["kld"]["buckets"]) == 5


def test_a_name_that_steers_a_terminal_does_not_in_markdown():
    it = example_quality()
    told = to_markdown(replace(it, text=replace(it.text, name="a\x1b[2J\u202eb")))
    assert "\x1b" not in told and "\u202e" not in told and "Text: a\ufffd\\[2J\ufffdb," in told

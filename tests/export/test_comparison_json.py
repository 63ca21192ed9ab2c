"""A comparison as JSON: every figure of it, under the names of docs/measurement.md."""

import json
import math
from dataclasses import replace

from quantlab.export import comparison_data
from quantlab.records import Comparison, Run
from tests.examples import example_comparison

COMPARISON_FIELDS = {"model", "prompt", "prompt_token_ids", "reference", "settings", "machine", "versions", "runs"}
RUN_FIELDS = set(
    "precision error text token_ids load_s load_origin ttft_s itl_s decode_tokens_per_s prefill_tokens_per_s parts "
    "stored_bytes running_bytes bits_per_weight peak_bytes kv_cache_bytes bandwidth_share first_divergence".split()
)


def written(comparison: Comparison) -> dict:
    """What a reader gets, who knows JSON and nothing of NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(json.dumps(comparison_data(comparison), allow_nan=False), parse_constant=refuse)


def test_every_field_is_there_for_every_run_failed_ones_included():
    data = written(example_comparison())
    assert set(data) >= COMPARISON_FIELDS
    assert len(data["runs"]) == 6
    for run in data["runs"]:
        assert set(run) >= RUN_FIELDS
    failed = next(run for run in data["runs"] if run["error"])
    assert failed["advice"] and failed["stored_bytes"] is None and failed["token_ids"] == []


def test_the_figures_are_those_of_the_records():
    comparison = example_comparison()
    data = written(comparison)
    for run, told in zip(comparison.runs, data["runs"], strict=True):
        if run.error:
            continue
        assert told["stored_bytes"] == run.load.stored_bytes == sum(told["parts"].values())
        assert told["decode_tokens_per_s"] == run.timing.decode_tokens_per_s
        assert told["itl_s"] == list(run.timing.itl_s)
        assert told["peak_bytes"]["resident"] == run.peak.resident and told["peak_bytes"]["estimate"]
        assert [d["kld"] for d in told["differences"]] == [d.kld for d in run.differences]
        assert (told["first_divergence"] is None) == (run.first_divergence is None)
    parted = next(run["first_divergence"] for run in data["runs"] if run["first_divergence"])
    assert set(parted) == {"index", "ours", "reference"} and parted["ours"][0]["token_id"] == 23
    assert data["settings"]["placement"]["device"] == "cpu" and data["started"].startswith("2026-01-02T")
    assert [run["stopped"] for run in data["runs"]] == [run.stopped for run in comparison.runs]


def test_figures_that_are_not_finite_are_null():
    comparison = example_comparison(("fp32", "nf4"), errors={}, stopped=None)
    reference, other = comparison.runs
    broken = (
        replace(other.differences[0], kld=math.nan, probability=math.nan),
        replace(other.differences[1], kld=math.inf),
        *other.differences[2:],
    )
    other = replace(other, differences=broken, bandwidth_share=math.inf)
    data = written(replace(comparison, runs=(reference, other)))
    told = data["runs"][1]
    assert told["bandwidth_share"] is None
    assert [d["kld"] for d in told["differences"][:2]] == [None, None]
    assert told["differences"][0]["probability"] is None and told["differences"][2]["kld"] == broken[2].kld


def test_a_run_that_never_began_has_only_its_reason():
    comparison = example_comparison(("fp32", "nf4"), errors={}, stopped=None)
    data = written(replace(comparison, runs=(comparison.runs[0], Run("nf4", stopped=True))))
    told = data["runs"][1]
    assert told["stopped"] and told["error"] is None and told["itl_s"] is None and told["peak_bytes"] is None

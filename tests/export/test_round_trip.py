"""Export and import: nothing is lost, and what is not ours or was changed by hand is refused by name."""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlab.errors import BadInput
from quantlab.export import (
    comparison_from,
    quality_data,
    quality_from,
    read_json,
    record_data,
    record_from,
    to_csv,
    to_json,
    to_markdown,
)
from quantlab.records import Calibration, Comparison, Model, Quality
from tests.examples import example_comparison
from tests.export.drawing import COMPARISONS, QUALITIES, TEXTS, example_quality
from tests.quality_examples import quality

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)


def unplaced(record: Comparison | Quality) -> Comparison | Quality:
    return replace(record, model=replace(record.model, folder=None, gguf=None, identity=""))


@settings(deadline=None)
@given(COMPARISONS | QUALITIES)
def test_every_record_comes_back_as_it_was(record: Comparison | Quality):
    text = to_json(record)
    assert read_json(text) == read_json(text.encode()) == record
    assert text.isascii()


@settings(deadline=None)
@given(COMPARISONS | QUALITIES)
def test_every_record_becomes_a_table(record: Comparison | Quality):
    assert to_csv(record).encode().decode().count("\n") > len(record.runs)
    rows = [line for line in to_markdown(record).encode().decode().split("\n") if line.startswith("|")]
    assert len(rows) == 2 + len(record.runs)


@pytest.mark.parametrize(
    "record", (example_comparison(), example_quality(failed="int8")), ids=("comparison", "quality")
)
def test_the_examples_come_back(record):
    assert read_json(to_json(record)) == unplaced(record)


@st.composite
def changed(draw) -> tuple[Any, Any]:
    """An export with one place in it gone, replaced or added."""
    data = draw(st.sampled_from(WHOLE))
    found = copy.deepcopy(data)
    at = found
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = draw(st.sampled_from(keys)) if keys else None
        if key is None or not isinstance(at[key], dict | list) or draw(st.integers(0, 5)) == 0:
            break
        at = at[key]
    change = draw(st.sampled_from(("gone", "replaced", "added")))
    if change == "added" and isinstance(at, dict):
        at[draw(TEXTS)] = draw(JSON_VALUES)
    elif key is not None and change == "gone":
        del at[key]
    elif key is not None:
        at[key] = draw(JSON_VALUES)
    return data, found


WHOLE = tuple(json.loads(to_json(it)) for it in (example_comparison(count=3), example_quality(("fp32", "nf4"))))


@settings(deadline=None, max_examples=400)
@given(changed())
def test_a_changed_file_is_refused_or_still_a_record(pair: tuple[Any, Any]):
    _, found = pair
    try:
        record = read_json(json.dumps(found, allow_nan=True))
    except BadInput as error:
        assert error.advice and len(error.what) < 400
    else:
        assert read_json(to_json(record)) is not None and to_csv(record) and to_markdown(record)


@settings(deadline=None)
@given(st.data())
def test_a_truncated_file_is_refused(data):
    text = json.dumps(data.draw(st.sampled_from(WHOLE)))
    with pytest.raises(BadInput):
        read_json(text[: data.draw(st.integers(0, len(text) - 1))])


@settings(deadline=None)
@given(JSON_VALUES)
def test_other_json_is_refused(value):
    with pytest.raises(BadInput, match="schema"):
        record_from(value)


@pytest.mark.parametrize(
    "content",
    (b"\xff\xfe\x00", b"", "", "[" * 100_000, "{", '{"schema": NaN}', "9" * 5_000, '"' + "x" * 10**6, b"\x89PNG\r\n"),
)
def test_what_is_no_json_is_refused(content):
    with pytest.raises(BadInput):
        read_json(content)


def edited(data: dict, path: str, value: Any) -> dict:
    """`data` with one field changed; `...` takes it away."""
    found = copy.deepcopy(data)
    at, keys = found, [int(key) if key.isdigit() else key for key in path.replace("[", ".").replace("]", "").split(".")]
    for key in keys[:-1]:
        at = at[key]
    if value is ...:
        del at[keys[-1]]
    else:
        at[keys[-1]] = value
    return found


@pytest.mark.parametrize(
    ("path", "value"),
    (
        ("prompt", ...),
        ("prompt", 7),
        ("prompt_token_ids[1]", "5"),
        ("prompt_token_ids[1]", True),
        ("settings.placement.device", None),
        ("settings.max_new_tokens", 1.5),
        ("started", "yesterday"),
        ("started", "2026-01-02T03:04:05"),
        ("machine.cores", ...),
        ("versions.torch", 2),
        ("model.kind", "magic"),
        ("runs[0].stored_bytes", ...),
        ("runs[0].stored_bytes", "12 MB"),
        ("runs[0].stored_bytes", None),
        ("runs[0].load_origin", None),
        ("runs[0].load_origin", "cloud"),
        ("runs[0].ttft_s", 0),
        ("runs[0].ttft_s", 10**400),
        ("runs[0].itl_s[0]", -1.0),
        ("runs[0].itl_s", None),
        ("runs[0].colour", "red"),
        ("runs[0].parts", []),
        ("runs[1].precision", "fp32"),
        ("runs[1].differences[0].kld", "0"),
        ("runs[3].first_divergence.ours[0].token_id", 1.0),
        ("runs[0].peak_bytes", 5),
    ),
)
def test_a_field_changed_by_hand_is_named(path: str, value: Any):
    data = record_data(example_comparison())
    with pytest.raises(BadInput) as refused:
        comparison_from(edited(data, path, value))
    named = {"runs[0].load_origin": "runs[0].", "runs[0].itl_s": "runs[0]."}
    where = named.get(path, path) if value is None and path in named else path
    assert refused.value.what.startswith(where) and "by hand" in refused.value.advice


@pytest.mark.parametrize(
    ("path", "value"),
    (
        ("noise_floor", "low"),
        ("noise_floor.kld.p99", ...),
        ("text.tokens", -1.5),
        ("runs[1].fidelity.ppl.value", "3"),
        ("runs[1].fidelity.kld.buckets", ...),
        ("runs[1].fidelity.kld.buckets[0].high", []),
        ("runs[1].fidelity.delta_p.rms", ...),
        ("runs[1].fidelity.window_kld[0]", "x"),
        ("runs[1].tasks.demo_facts.acc", {}),
        ("runs[1].tasks.demo_facts.correct[0]", 1),
        ("runs[1].layers[0].cosine", ...),
        ("runs[1].load_notes", "text"),
        ("runs[1].fidelity.kld.mean", -1),
        ("runs[1].fidelity.kld.median", 1e9),
        ("runs[1].fidelity.kld_reverse.mean", 1e9),
        ("runs[1].fidelity.same_top", 1.01),
        ("runs[1].fidelity.delta_p.mean", -101),
        ("runs[1].fidelity.ppl.ratio", -0.5),
        ("runs[1].tasks.demo_facts.acc", 7),
        ("runs[1].tasks.demo_facts.mcnemar_p", 1.5),
        ("runs[1].layers[0].cosine", -2),
        ("runs[1].decode_tokens_per_s", -400.0),
    ),
)
def test_a_figure_of_quality_changed_by_hand_is_named(path: str, value: Any):
    with pytest.raises(BadInput) as refused:
        quality_from(edited(record_data(example_quality()), path, value))
    assert refused.value.what.startswith(path)


@pytest.mark.parametrize(("field", "value"), (("runs", []), ("reference", "fp64")))
@pytest.mark.parametrize("record", (example_comparison(), example_quality()), ids=("comparison", "quality"))
def test_a_file_without_its_reference_is_refused(record: Comparison | Quality, field: str, value: Any):
    with pytest.raises(BadInput) as refused:
        read_json(json.dumps(record_data(record) | {field: value}))
    assert refused.value.what.startswith(field)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    (
        ("runs[1].fidelity.ppl.ratio", 9.0, "runs[1].fidelity.ppl.ratio"),
        ("runs[1].decode_tokens_per_s", 1e9, "runs[1].decode_tokens_per_s"),
        ("text.windows", 999, "text.windows"),
        ("text.scored", 10**6, "text.scored"),
        ("runs[1].fidelity.window_kld", [0.1, 0.2], "runs[1].fidelity.window_kld"),
        ("runs[1].fidelity.tokens", 3, "runs[1].fidelity.tokens"),
        ("runs[1].tasks.demo_facts.items", 7, "runs[1].tasks.demo_facts.correct"),
        ("runs[1].stored_bytes", 12, "runs[1].parts"),
    ),
)
def test_figures_that_contradict_each_other_are_refused(path: str, value: Any, named: str):
    with pytest.raises(BadInput) as refused:
        read_json(json.dumps(edited(record_data(example_quality()), path, value)))
    assert refused.value.what.startswith(named)


@pytest.mark.parametrize("name", ("ttft_samples", "decode_samples"))
def test_samples_that_do_not_begin_with_the_shown_answer_are_refused(name: str):
    data = record_data(example_comparison())
    with pytest.raises(BadInput) as refused:
        read_json(json.dumps(edited(data, f"runs[0].{name}", [1e9, 1e9])))
    assert refused.value.what.startswith(f"runs[0].{name}")


def test_half_a_character_becomes_the_sign_for_none():
    """A page that shows it cannot be sent: no encoding has it."""
    data = edited(record_data(example_comparison()), "model.name", "a\ud800b")
    data["runs"][0]["details"] = {"\udc00": "\ud83d\ude00"}
    record = read_json(json.dumps(data))
    assert record.model.name == "a\ufffdb" and record.runs[0].load.details == {"\ufffd": "\U0001f600"}


def test_what_rounding_makes_is_no_fault():
    data = edited(record_data(example_quality()), "runs[1].layers[0].cosine", 1.000001)
    assert quality_from(data).runs[1].layers[0].cosine == 1.000001


def test_the_schema_tells_kind_and_version():
    comparison, quality = record_data(example_comparison()), record_data(example_quality())
    assert (comparison["schema"], quality["schema"]) == ("quantlab.comparison/1", "quantlab.quality/1")
    with pytest.raises(BadInput, match=r"version 2.*up to 1.*Update"):
        record_from(comparison | {"schema": "quantlab.comparison/2"})
    with pytest.raises(BadInput, match="schema: this is a quality run, not a comparison"):
        comparison_from(quality)
    for schema in ("quantlab.chart/1", "comparison", 1, None, "quantlab.quality/0", "quantlab.quality/1 "):
        with pytest.raises(BadInput, match="schema"):
            record_from(quality | {"schema": schema})


def test_figures_that_are_not_finite_come_back_as_nan_or_none():
    quality = example_quality()
    fidelity = quality.runs[1].fidelity
    fidelity = replace(fidelity, kld=replace(fidelity.kld, max=math.inf), window_kld=(math.nan, 0.5, 0.5, 0.5))
    broken = replace(quality.runs[1], fidelity=fidelity, decode_tokens_per_s=math.inf)
    back = read_json(to_json(replace(quality, runs=(quality.runs[0], broken)))).runs[1]
    assert math.isnan(back.fidelity.kld.max) and back.fidelity.window_kld == (None, 0.5, 0.5, 0.5)
    assert back.decode_tokens_per_s is None and back.fidelity.kld.mean == fidelity.kld.mean


SECRET = Path("/home/ada/models/secret/tiny")


@pytest.mark.parametrize(
    "model",
    [
        Model(str(SECRET), "folder", SECRET, gguf=SECRET / "x.gguf"),
        Model(str(SECRET), "gguf", SECRET, origin=SECRET / "x.gguf"),
        Model(f"{SECRET}::q4_0", "gguf", SECRET, origin=SECRET / "x-q4_0.gguf"),
        Model(f"{SECRET}.gguf", "gguf", SECRET, origin=SECRET.with_suffix(".gguf")),
    ],
)
def test_no_place_on_this_disk_is_told(model):
    comparison = example_comparison()
    folder = SECRET
    calibrated = replace(comparison.settings, calibration=Calibration(file=folder / "own.txt", digest="12"))
    text = to_json(replace(comparison, model=model, settings=calibrated))
    assert "/home" not in text and "secret" not in text
    back = read_json(text)
    assert back.model == Model(model.name.rpartition("/")[2], model.kind, None)
    assert back.settings.calibration == Calibration(file=Path("own.txt"), digest="12")
    assert "secret" not in to_csv(replace(comparison, model=model)) + to_markdown(replace(comparison, model=model))


def test_a_file_of_enormous_length_is_refused_unread(monkeypatch):
    monkeypatch.setattr("quantlab.export.LONGEST", 10)
    with pytest.raises(BadInput, match="longer than"):
        read_json(b"x" * 11)


@pytest.mark.parametrize("value", [-1, 2**63])
def test_numbers_of_bytes_and_tokens_that_cannot_be_are_refused(value):
    data = quality_data(quality())
    data["runs"][0]["stored_bytes"] = value
    with pytest.raises(BadInput, match="stored_bytes"):
        quality_from(data)

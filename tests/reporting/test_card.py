"""The section for a model card, rendered by a real Markdown reader, and the command line in it."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from quantlab import cli
from quantlab.cli import quality as verb
from quantlab.cli.arguments import columns
from quantlab.records import Calibration, Model, Placement, Quality, QualitySettings
from quantlab.reporting.advice.card import card
from quantlab.reporting.advice.repeating import command
from tests.quality_examples import quality, quality_run


def tokens(text: str):
    return MarkdownIt("commonmark").enable("table").parse(text)


def table(text: str) -> list[list[str]]:
    """The cells of the one table, as they read."""
    rows: list[list[str]] = []
    inside = False
    for token in tokens(text):
        if token.type == "tr_open":
            rows.append([])
        inside = (inside or token.type in ("th_open", "td_open")) and token.type not in ("th_close", "td_close")
        if inside and token.type == "inline":
            rows[-1].append("".join(child.content for child in token.children))
    return rows


def fences(text: str) -> dict[str, str]:
    return {token.info: token.content for token in tokens(text) if token.type == "fence"}


def test_the_table_has_a_row_for_each_precision_with_its_figures():
    head, *rows = table(card(quality()))
    assert head[0] == "precision" and {len(row) for row in rows} == {len(head)} == {7}
    by_name = {row[0]: row[1:] for row in rows}
    assert list(by_name) == ["fp32", "bf16", "int8", "nf4", "nf4-dq", "rtn-2"]
    assert by_name["nf4"] == [
        "8.50", "3.21 MB", "0.0488 ± 0.0015", "0.0451 to 0.0525", "1.0500 ± 0.0020", "373 ± 1 %"
    ]  # fmt: skip
    assert by_name["nf4"][1] == f"{quality().run('nf4').load.stored_bytes / 1e6:.2f} MB"
    assert by_name["fp32"][2:5] == ["0 (reference)", "-", "1 (perplexity 5.200)"]
    assert by_name["int8"] == ["-"] * 6


def test_it_tells_where_when_with_what_and_what_limits_the_figures():
    busy = {"nf4": {"decode_samples": (100.0, 300.0, 500.0)}, "bf16": {"stopped": True}}
    told = card(quality(runs=busy))
    for wanted in ("Example CPU, cores: 2", "2026-01-02", "torch 2.13.0", "held-out stories", "4,080 tokens"):
        assert wanted in told
    assert "int8 failed and has no figures: " in told and "bf16 was stopped" in told
    assert (
        "Speeds that bear no claim: nf4: its speed differed too much" in told and told.count("differed too much") == 1
    )
    assert "(doubted)" in dict((r[0], r[6]) for r in table(told))["nf4"]
    few = {"nf4": {"fidelity": replace(quality().run("nf4").fidelity, tokens=7)}}
    assert "(few positions)" in dict((r[0], r[3]) for r in table(card(quality(runs=few))))["nf4"]
    alone = replace(quality().run("nf4").fidelity, window_kld=(0.05,))
    alone = replace(alone, kld=replace(alone.kld, se=None))
    assert dict((r[0], r[4]) for r in table(card(quality(runs={"nf4": {"fidelity": alone}}))))["nf4"] == "not known"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("int8 cannot be loaded: out of memory.", "int8 cannot be loaded: out of memory."),
        ("The files of 'a/b' cannot be read: /home/me/x/w.bin.", "The files of 'a/b' cannot be read: w.bin."),
        ("The file '/home/my name/its model/w.bin' is cut.", "The file 'w.bin' is cut."),
        (r"The file C:\Users\me\w.bin is cut.", "The file w.bin is cut."),
        ("~/models/w.gguf: 3/4 of it read at 7 MB/s", "w.gguf: 3/4 of it read at 7 MB/s"),
    ],
)
def test_why_a_column_failed_is_told_without_the_places_of_this_disk(error, said):
    told = card(quality(("fp32", "int8"), errors={"int8": (error, "")}))
    assert f"int8 failed and has no figures: {said}" in told.replace("\\", "")
    assert "--precisions fp32 " in fences(told)["sh"]


def test_what_is_recommended_comes_with_the_way_to_run_it():
    it = quality()
    it = replace(it, model=Model("owner/name", "hub", Path("/home/me/cache"), "abc"))
    told = card(it, bound=0.06)
    assert "### To run `nf4`" in told and 'bnb_4bit_quant_type="nf4"' in fences(told)["python"]
    assert 'model_id = "owner/name"' in told and 'revision="abc"' in told and "/home/me" not in told
    assert "### To run" not in card(quality(("fp32", "nf4"), errors={}, runs=SLOW), bound=1e-9)


#: Speeds too near to each other to name the fastest.
SLOW = {"nf4": {"decode_tokens_per_s": 208.0, "decode_samples": (207.0, 208.0, 209.0)}}
SETTINGS = [
    QualitySettings(windows=16, tasks=("demo_facts",), layers=False, noise_floor=False),
    QualitySettings(placement=Placement("cpu", "float32", (("model", "cpu"),), "torch")),
    QualitySettings(reference="nf4", calibration=Calibration(Path("/home/me/read.txt"), "", 7, 99)),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_command_asks_for_the_same_again(settings, monkeypatch, tmp_path):
    (tmp_path / "read.txt").write_text("Stories. " * 200)
    (tmp_path / "theirs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("quantlab.cli.arguments.checkpoint", lambda spec: spec)
    it = replace(quality(("fp32", "nf4"), errors={}), settings=settings)
    line = command(it, ["fp32", "nf4", "/home/me/theirs", "demo::int8"], 0.1, 2_500_000)
    assert "/home/me" not in line
    args = cli.parser().parse_args(shlex.split(line)[1:])
    assert columns(args) == ["fp32", "nf4", "./theirs", "demo::int8"]
    assert (args.model, args.text, args.kld_bound, args.memory) == ("demo", "held-out stories", 0.1, 2.5)
    again = verb._settings(args)
    file = again.calibration.file
    assert (file and file.name) == (settings.calibration.file and "read.txt")
    plain = replace(settings.calibration, file=None, digest="")
    assert replace(again, calibration=replace(again.calibration, file=None, digest="")) == replace(
        settings, calibration=plain
    )


@pytest.mark.parametrize(
    ("model", "typed"),
    [
        (Model("smollm2", "hub", None, "abc"), "smollm2"),
        (Model("owner/name", "hub", None, "abc"), "owner/name@abc"),
        (Model("/home/me/mine", "folder", Path("/home/me/mine")), "./mine"),
        (Model("mine", "folder", None), "./mine"),
    ],
)
def test_the_model_is_named_as_it_is_typed(model, typed):
    line = command(replace(quality(), model=model))
    assert cli.parser().parse_args(shlex.split(line)[1:]).model == typed


def test_a_published_column_is_a_variant():
    it = quality(("fp32",), errors={})
    it = replace(it, runs=(*it.runs, replace(quality_run("nf4", "fp32"), precision="theirs-q4")))
    assert "--precisions fp32 --variant theirs-q4" in command(it)


def hostile() -> Quality:
    name = "a|b`c\n```\n# x\x1b<script>"
    it = quality(("fp32", "nf4"), errors={})
    runs = (it.runs[0], replace(it.runs[1], precision=name))
    floor = "<script>alert(1)</script>"
    return replace(it, runs=runs, model=Model(name, "hub", None, name), versions={name: name}, floor=floor,
                   text=replace(it.text, name=name), machine=replace(it.machine, cpu=name))  # fmt: skip


def test_names_from_elsewhere_are_no_markup():
    told = card(hostile(), bound=1.0)
    found = tokens(told)
    assert not [token for token in found if token.type == "html_block"]
    inline = [child for token in found for child in token.children or () if child.type == "html_inline"]
    assert not inline and "\x1b" not in told
    assert [token.markup for token in found if token.type == "heading_open"] == ["##", "###"]
    assert {len(row) for row in table(told)} == {7} and len(fences(told)) == 2
    assert not re.search(r"^# x", told, re.MULTILINE)

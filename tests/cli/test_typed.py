"""Whatever is typed on the command line is taken as it is meant, or refused in words that say what to do."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantlab import cli
from quantlab.cli.arguments import checkpoint
from quantlab.errors import BadInput
from quantlab.methods import precision, variant_of
from quantlab.methods.published import label, whole
from quantlab.records import Calibration, Model, ResolvedPlacement
from quantlab.runtime.kv_cache import MARK
from quantlab.settings import AppSettings

STRANGE = {
    "300 characters": "a" * 300,
    "5,000 characters": "b" * 5_000,
    "a path of 300": "./" + "a" * 300,
    "a file of 300": "a" * 300 + ".gguf",
    "many folders": "x/" * 2_500 + "y",
    "a null byte": "a\0b",
    "a new line": "no-such\nfile",
    "nobody's home": "~nobody-of-this-name/x",
    "a Hub id of 300": "o/" + "a" * 300,
}
#: What becomes of a text that names a model or a file; "-" stands for it.
PLACES = (
    "precisions --model -",
    "plan --model -",
    "doctor --model -",
    "inside --layers --model -",
    "compare --prompt x --precisions fp32 --model -",
    "compare --prompt x --model demo --precisions -",
    "compare --prompt x --model demo --precisions fp32 --variant -",
    "compare --prompt x --model demo --precisions fp32 --device-map -",
    "compare --prompt x --model demo --precisions fp32 --kernel -",
    "compare --prompt x --model demo --precisions fp32 --calibration -",
    "quality --model demo --precisions fp32 --text -",
    "quality --model demo --precisions fp32 --tasks -",
    "plan --model demo --card -",
    "history import -",
)
#: Files that are written: a new line may be part of a name.
WRITTEN = ("plan --model demo --json -", "compare --prompt x --model demo --precisions fp32 --json -",
           "quality --model demo --precisions fp32 --card -")  # fmt: skip


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """Neither a file of this folder nor the Hub answers for what was typed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def refused(command: str, typed: str, capsys) -> str:
    assert cli.main([typed if word == "-" else word for word in command.split()]) == cli.REFUSED
    said = capsys.readouterr().err
    assert "\nquantlab: " in f"\n{said}" and len(said) < 2 * len(typed) + 1_500
    return said


@pytest.mark.parametrize("typed", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("command", PLACES)
def test_a_name_that_is_no_name_is_refused_in_words(command, typed, capsys):
    refused(command, typed, capsys)


@pytest.mark.parametrize("command", WRITTEN)
@pytest.mark.parametrize("typed", ["a" * 300, "b" * 5_000, "a\0b"], ids=["300", "5,000", "a null byte"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(command, typed, capsys):
    assert "cannot be written" in refused(command, typed, capsys)


@pytest.mark.parametrize("model", ["demo::nf4", "smollm2::x", "shape:bench-100m::x"])
@pytest.mark.parametrize("command", ["precisions", "plan", "doctor", "inside --layers", "compare --prompt x"])
def test_nothing_is_picked_of_a_model_that_is_no_gguf_file(command, model, capsys):
    said = refused(f"{command} --model -", model, capsys)
    assert "::" in said or "Unknown shape" in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NF4+KV-INT8", "Did you mean nf4+kv-int8?"),
        ("Q4_K_M", "Did you mean q4_k_m?"),
        ("GPTQ-4-G128", "Did you mean gptq-4-g128?"),
        ("+kv-int8", "'+kv-int8' names no precision. Put one in front of it: nf4+kv-int8."),
        ("nf4+kv-int8+kv-int4", "more than one +kv- option"),
        ("a+kv-x+kv-y", "more than one +kv- option"),
        ("nf44", "Did you mean nf4?"),
    ],
)
def test_a_precision_that_is_none_says_what_was_meant(name, said):
    with pytest.raises(BadInput) as caught:
        precision(name)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "told"), [("nf4+kv-int8", "8 bits"), ("fp32+kv-int4", "4 bits"), ("q8_0+kv-q8_0", "q8_0")]
)
def test_a_summary_says_how_keys_and_values_are_kept(name, told):
    found = precision(name)
    assert found.summary.endswith(f"; keys and values in {told}")
    # The weights are the same, and so is what is loaded.
    place, model = ResolvedPlacement("cpu", "float32"), Model("demo", "demo", None)
    assert variant_of(model, found, place, Calibration()) == variant_of(
        model, precision(name.partition(MARK)[0]), place, Calibration()
    )


def test_a_kernel_that_nobody_has_is_refused_though_no_gptq_runs(capsys):
    said = refused("compare --prompt x --model demo --precisions fp32 --kernel -", "marlyn", capsys)
    assert "Unknown kernel 'marlyn'" in said and "Did you mean marlin?" in said


@pytest.mark.parametrize(
    "arguments",
    [["--values", ""], ["--values="], ["--precision", " "], ["--beside", ""], ["--layer", ""], ["--model", ""]],
)
def test_inside_takes_nothing_for_no_option(arguments, capsys):
    assert cli.main(["inside", *arguments]) == cli.REFUSED
    assert "was given nothing" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--precision", "--beside"])
def test_inside_has_no_keys_and_values(option, capsys):
    assert cli.main(["inside", option, "nf4+kv-int8"]) == cli.REFUSED
    assert "Write nf4: its weights are the same" in capsys.readouterr().err


def test_a_published_folder_may_have_another_cache(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    assert checkpoint(f"{tmp_path}/mine+kv-int8") == f"{tmp_path}/mine+kv-int8"
    assert checkpoint("mine+kv-int8") == "./mine+kv-int8"
    with pytest.raises(BadInput, match="more than one"):
        checkpoint("./mine+kv-int8+kv-int4")


def test_a_folder_with_another_cache_is_kept_whole_in_the_history(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert whole("./mine+kv-int8", AppSettings(public=False)) == f"{tmp_path}/mine+kv-int8"
    assert label("./mine+kv-int8") == "mine+kv-int8"


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """It and all below it."""
    yield parser
    for action in parser._actions:
        for below in (action.choices or {}).values() if isinstance(action, argparse._SubParsersAction) else ():
            yield from parsers(below)


#: Every option of every verb that takes a value which is read: numbers, sizes, ages, choices.
READ = [
    (parser, action)
    for parser in parsers(cli.parser())
    for action in parser._actions
    if (action.type not in (None, Path) or action.choices) and action.nargs != 0
]


@pytest.mark.parametrize(
    "typed", ["7" * 5_000 + "x", "red\x1b[31m\x07" * 40, "two\nlines"], ids=["long", "ESC", "lines"]
)
@pytest.mark.parametrize(
    ("parser", "action"),
    READ,
    ids=[f"{parser.prog} {action.dest}".removeprefix("quantlab ") for parser, action in READ],
)
def test_what_no_option_takes_is_shown_short_and_without_control_characters(parser, action, typed, capsys):
    with pytest.raises(SystemExit) as ended:
        parser.parse_args([*action.option_strings[-1:], typed])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.replace("\n", "").isprintable()
    told = said[said.index(": error: ") :]
    assert len(told) < 700 and told.count("\n") == 1 and typed[:3] in told


@pytest.mark.parametrize("typed", ["7" * 5_000, "--no\x1b[31m", "x\ny"])
def test_what_nothing_takes_is_too(typed, capsys):
    for words in (["models", typed], ["models", *[typed] * 900], ["compare", f"--ma={typed}"]):
        with pytest.raises(SystemExit):
            cli.main(words)
        said = capsys.readouterr().err
        told = said[said.index(": error: ") :]
        assert said.replace("\n", "").isprintable() and len(told) < 700 and told.count("\n") == 1

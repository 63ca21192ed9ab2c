"""`quantlab inside` in this process."""

import json

import pytest

from quantlab import cli
from quantlab.cli import inside


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_typed_numbers_that_begin_with_a_minus(capsys):
    arguments = ("inside", "--values", "-0.4251,0.1872,-0.0031", "--bits", "8", "--block-size", "row")
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    assert ["-0.4251", "-127", "-0.4251", "0"] in lines and ["-0.0031", "-1", "-0.00334724", "-0.000247"] in lines
    assert "Each of these 3 numbers becomes one of 255 levels" in said and "scale 0.00334724" in said
    assert "all methods on these numbers" in said
    refused = next(line for line in said.splitlines() if line.endswith("are no whole blocks of 32."))
    assert set(refused.partition(":")[0].split(", ")) == {"q8_0", "q4_0", "q5_1", "q5_0", "q4_1"}


def test_json_is_one_object_with_every_level(capsys):
    layer = "model.layers.0.mlp.up_proj"
    assert cli.main(("inside", "--layer", layer, "--precision", "nf4", "--block", "5", "--json", "-")) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["source"] == f"demo, {layer}.weight" and data["shape"] == [512, 256]
    assert (data["row"], data["column"], data["block"], data["blocks"]) == (1, 64, 5, 2048)
    (scale,) = data["grid"]["scales"]
    assert len(scale["levels"]) == len(scale["codes"]) == 16 and len(data["grid"]["kept"]) == 64
    assert set(data["grid"]["kept"]) <= set(scale["levels"])


def test_layers_are_listed_attention_first(capsys):
    assert cli.main(("inside", "--layers")) == 0
    names = capsys.readouterr().out.split()
    assert len(names) == 21 and names[0] == "model.layers.0.self_attn.k_proj"
    assert names[4:7] == [f"model.layers.0.mlp.{part}_proj" for part in ("down", "gate", "up")]


def test_outliers_are_shown_step_by_step(capsys):
    assert cli.main(("inside", "--layer", "model.layers.1.mlp.up_proj", "--outliers", "--sigma", "1")) == 0
    said = capsys.readouterr().out
    assert "1.00 *" in said and "the spread asked for; the model has" in said
    assert "the product with the codes' values, in bfloat16" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--precision", "nf4", "--bits", "4"), "--precision nf4 has its own bits and blocks."),
        (("--bits", "9"), "Plain integers cannot have 9 bits here."),
        (("--block-size", "8"), "A block cannot have 8 numbers here."),
        (("--block-size", "half"), "'plain-4-ghalf' names no plain integers."),
        (("--layer", "nothing"), "Unknown layer 'nothing'."),
        (("--block", "5000000"), "The block cannot be 5,000,000."),
        (("--values", "one"), "'one' is no number."),
        (("--outliers", "--values", "1 2"), "Typed numbers meet no activations."),
        (("--model", "/nowhere"), "There is no folder '/nowhere'."),
        (("--json", "/nowhere/x.json"), "There is no folder for /nowhere/x.json."),
    ],
)
def test_what_cannot_be_is_told_in_two_lines(capsys, arguments, says):
    assert cli.main(("inside", *arguments)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"quantlab: {says}\n") and said.count("\n") == 2


def test_only_what_follows_values_is_joined_to_it():
    assert inside.glued(["inside", "--values", "-1,2", "--block", "3"]) == ["inside", "--values=-1,2", "--block", "3"]
    assert inside.glued(["inside", "--values"]) == ["inside", "--values"]
    assert inside.glued(["compare", "--prompt", "-"]) == ["compare", "--prompt", "-"]

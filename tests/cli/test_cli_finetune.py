"""`quantlab finetune`: what it prints of the rows and of what came out, and what it refuses."""

import json

import pytest

from quantlab.cli import main


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(["finetune", *arguments])
    found = capsys.readouterr()
    return code, " ".join(found.out.split()), " ".join(found.err.split())


@pytest.fixture
def file(tmp_path):
    """Of twelve rows one is cut, and one has a question as long as the context."""
    path = tmp_path / "rows.jsonl"
    long = {"prompt": "Who?", "completion": " Mara" * 60}
    hopeless = {"prompt": "Mara " * 60, "completion": " Kestrel."}
    told = [{"prompt": "Mara lives in", "completion": " Kestrel."}] * 10
    path.write_text("\n".join(map(json.dumps, [*told, long, hopeless])))
    return path


@pytest.mark.slow
def test_rows_that_are_too_long_are_counted_and_all_weights_become_a_model(capsys, file, tmp_path):
    out = tmp_path / "out"
    asked = ("--method", "full", "--model", "demo", "--steps", "4", "--batch", "2", "--context", "32")
    code, printed, told = run(capsys, *asked, "--data", str(file), "--out", str(out))
    assert code == 0, told
    assert "preparing: " in told  # which of it, hangs on how fast it goes
    assert "1 longer than the context, cut at its end; 1 left out, with nothing to learn" in told
    assert "(100 %)" in told and "4 steps" in printed
    settings = json.loads((out / "quantlab.json").read_text())["settings"]
    assert (settings["method"], settings["precision"], settings["learning_rate"]) == ("full", "fp32", 1e-4)
    assert (out / "model.safetensors").is_file() and (out / "tokenizer.json").is_file()


def test_what_all_weights_cannot_be(capsys, file, tmp_path):
    asked = ("--method", "full", "--precision", "nf4", "--data", str(file), "--out", str(tmp_path / "out"))
    code, _, told = run(capsys, *asked)
    assert code != 0 and "All weights cannot be trained in nf4" in told and "fp32, bf16" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [["--rank", "4"], ["--dora"], ["--init-lora-weights", "loftq"]])
def test_options_of_adapters_are_refused_where_all_weights_are_trained(option, capsys, tmp_path):
    assert main(["finetune", "--data", "newcomers", "--method", "full", "--out", str(tmp_path / "x"), *option]) == 2
    assert f"{option[0]} is for adapters" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_rows_that_are_refused_leave_no_folder(capsys, tmp_path):
    (bad := tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"text": \n')
    assert main(["finetune", "--data", str(bad), "--model", "demo", "--out", str(tmp_path / "x")]) == 2
    assert "line 2" in capsys.readouterr().err and not (tmp_path / "x").exists()

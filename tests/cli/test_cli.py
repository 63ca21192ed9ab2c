"""The command line, in this process where that suffices and as a program where its streams matter."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from quantlab import cli
from quantlab.checkpoints.export import savable
from quantlab.errors import BadInput, Stopped
from quantlab.history import open_history
from quantlab.methods import PRECISIONS
from quantlab.records.events import Done
from quantlab.runs import compare as comparison
from quantlab.runs import recorded
from tests import tiny
from tests.examples import example_comparison
from tests.export.drawing import example_quality
from tests.export.test_comparison_json import COMPARISON_FIELDS, RUN_FIELDS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return str(tiny.write(tmp_path_factory.mktemp("llama"), "llama").folder)


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    yield
    comparison.variant_cache().drop_unused()


def program(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "quantlab.cli", *arguments], cwd=ROOT, capture_output=True, text=True, **options
    )


def test_a_kept_comparison_is_exported_as_a_program(tmp_path, capsys):
    history = open_history()
    compared, measured = history.keep(example_comparison()), history.keep(example_quality())
    file = tmp_path / "by_hand.py"
    assert cli.main(["history", "export", str(compared), str(file)]) == 0
    compile(file.read_text("utf-8"), str(file), "exec")
    assert cli.main(["history", "export", str(measured), str(file)]) == cli.REFUSED
    assert "Only a comparison" in capsys.readouterr().err


@pytest.mark.slow
def test_the_code_is_written(folder, tmp_path, capsys):
    asked = ("compare", "--model", folder, "--precisions", "fp32", "--prompt", "Once", "--max-new-tokens", "3")
    file = tmp_path / "by_hand.py"
    assert cli.main([*asked, "--code", str(file)]) == 0
    program = file.read_text("utf-8")
    compile(program, str(file), "exec")
    capsys.readouterr()
    assert cli.main([*asked, "--code", "-"]) == 0
    assert capsys.readouterr().out == program and 'prompt = "Once"' in program
    assert cli.main([*asked, "--code", "-", "--json", "-"]) == 2
    assert cli.main([*asked, "--code", str(tmp_path / "no" / "x.py")]) == 2


@pytest.mark.slow
def test_json_on_standard_output_is_one_object_and_nothing_else(folder):
    names = "fp32,int8,nf4,rtn-3"
    done = program(
        *("compare", "--model", folder, "--precisions", names, "--prompt", "-", "--max-new-tokens", "6", "--json", "-"),
        input="Once upon\na time",
    )
    assert done.returncode == 0, done.stderr
    data, end = json.JSONDecoder().raw_decode(done.stdout)
    assert done.stdout[end:] == "\n"
    assert set(data) >= COMPARISON_FIELDS
    assert data["prompt"] == "Once upon\na time" and len(data["prompt_token_ids"]) == 17
    assert data["reference"] == "fp32" and data["model"]["name"] == Path(folder).name
    assert [run["precision"] for run in data["runs"]] == names.split(",")
    for run in data["runs"]:
        assert set(run) >= RUN_FIELDS
        unmeasured = {name for name in RUN_FIELDS if run[name] is None}
        assert unmeasured <= {"error", "first_divergence"}
        assert len(run["itl_s"]) == 5 and run["load_origin"] == "built"
    assert not any(word in done.stderr for word in ("Traceback", "Warning", "warning", "cast", "kernels"))


def compare(folder: str, *arguments: str) -> int:
    return cli.main(["compare", "--model", folder, "--precisions", "fp32,rtn-4", "--max-new-tokens", "4", *arguments])


def test_without_json_there_are_tables(folder, capsys):
    assert compare(folder) == 0
    out = capsys.readouterr().out
    assert "fp32 (reference)" in out and "bits/weight" in out and "tokens/s" in out


def test_settings_arrive(folder, tmp_path):
    file = tmp_path / "out.json"
    split = '{"model.embed_tokens": "cpu", "model.layers": "cpu", "model.norm": "cpu", "lm_head": "cpu", "": "cpu"}'
    options = "--sample --temperature 0.5 --top-k 7 --top-p 0.5 --seed 9 --raw --race --reference rtn-4".split()
    placement = ["--device", "cpu", "--compute-dtype", "bfloat16", "--device-map", split]
    assert compare(folder, *options, *placement, "--json", str(file)) == 0
    data = json.loads(file.read_text())
    told = data["settings"]
    expected = dict(max_new_tokens=4, sample=True, temperature=0.5, top_k=7, top_p=0.5, seed=9, raw=True, race=True)
    assert {name: told[name] for name in expected} == expected
    assert data["reference"] == told["reference"] == "rtn-4"
    assert told["placement"]["compute_dtype"] == "bfloat16"
    assert dict(told["placement"]["device_map"]) == json.loads(split)
    assert [run["compute_dtype"] for run in data["runs"]] == ["bfloat16", "float32"]
    assert not any(run["timings_count"] for run in data["runs"])


def test_options_of_sampling_without_it_are_told(folder, capsys, tmp_path):
    file = tmp_path / "out.json"
    assert compare(folder, "--temperature", "0.5", "--top-k", "7", "--json", str(file)) == 0
    assert "without --sample nothing is drawn: no use is made of --temperature, --top-k." in capsys.readouterr().err
    assert compare(folder, "--json", str(file)) == 0
    assert "--sample" not in capsys.readouterr().err
    told = json.loads(file.read_text())["settings"]
    assert (told["temperature"], told["top_k"], told["seed"]) == (0.8, 50, 0)


def test_a_column_that_failed_shows_in_the_exit_code(folder, capsys, monkeypatch):
    monkeypatch.setattr("quantlab.methods.bitsandbytes.missing_package", lambda name: True)
    arguments = ["compare", "--model", folder, "--precisions", "fp32,nf4", "--max-new-tokens", "2", "--json", "-"]
    assert cli.main(arguments) == cli.SOME_FAILED == 1
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert runs[0]["error"] is None and "pip install bitsandbytes" in runs[1]["error"]


def test_all_columns_failed_is_nothing_ran_and_no_tables_of_dashes(folder, capsys, monkeypatch):
    monkeypatch.setattr("quantlab.methods.bitsandbytes.missing_package", lambda name: True)
    arguments = ["compare", "--model", folder, "--precisions", "int8,nf4", "--max-new-tokens", "2"]
    assert cli.main(arguments) == cli.REFUSED == 2
    out = capsys.readouterr().out
    assert out.count("pip install bitsandbytes") == 2 and "bits/weight" not in out


@pytest.mark.parametrize(
    ("arguments", "words", "advice"),
    [
        (("--precisions", "fp32,q4"), "Unknown precision 'q4'", "nf4-dq"),
        (("--precisions", " , "), "No precision was chosen", "fp32"),
        (("--model", "what is this"), "Unknown model", "demo"),
        (("--prompt", ""), "prompt is empty", "Type"),
        (("--max-new-tokens", "9999"), "exceed the model's context of 256", "at most"),
        (("--device", "tpu"), "Unknown device 'tpu'", "cpu"),
        (("--compute-dtype", "int8"), "int8 cannot be a compute dtype", "float32"),
        (("--device-map", "{"), "Cannot read the device map", "JSON"),
        (("--json", "/no/such/folder/out.json"), "There is no folder for /no/such/folder/out.json", "Create it"),
        (("--json", "/"), "/ cannot be written", "another file"),
        (("--sample", "--seed", str(2**70)), "seed", ""),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, tuple) else "",
)
def test_what_cannot_be_is_said_in_two_lines(folder, arguments, words, advice, capsys):
    assert compare(folder, *arguments) == cli.REFUSED == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.strip() and not line.startswith(("reading", "download"))]
    assert out == ""
    assert lines[0].startswith("quantlab: ") and words in lines[0]
    assert len(lines) == 1 + bool(advice) and (not advice or (lines[1].startswith("  ") and advice in lines[1]))


def test_arguments_that_do_not_exist_are_refused_by_name(capsys):
    with pytest.raises(SystemExit) as refused:
        cli.main(["compare", "--precision", "nf4", "--nonsense"])
    assert refused.value.code == cli.REFUSED and "--nonsense" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (Stopped(), 130), (BadInput("No.", "Yes."), 2)],
    ids=["interrupted", "stopped", "refused"],
)
def test_exit_codes(monkeypatch, error, code, capsys):
    def verb(_args) -> int:
        raise error

    monkeypatch.setitem(cli.VERBS, "models", verb)
    assert cli.main(["models"]) == code
    assert capsys.readouterr().err == ("quantlab: stopped.\n" if code == 130 else "quantlab: No.\n  Yes.\n")


def test_an_interrupted_comparison_shows_what_there_is_and_says_that_it_was_stopped(monkeypatch, capsys):
    def interrupted(*_asked, stop, **_options):
        signal.raise_signal(signal.SIGINT)  # as Ctrl-C does
        assert stop.is_set()
        yield Done(example_comparison())

    monkeypatch.setattr(recorded, "compare", interrupted)
    assert cli.main(["compare"]) == cli.INTERRUPTED
    out, err = capsys.readouterr()
    assert "fp32 (reference)" in out and err.endswith("quantlab: stopped.\n") and "Traceback" not in err


@pytest.mark.parametrize("verb", ["compare", "quantize"])
def test_the_help_lists_every_precision(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    listed = set(capsys.readouterr().out.partition("precisions:\n")[2].split())
    wanted = {name for name, chosen in PRECISIONS.items() if verb == "compare" or savable(chosen)}
    assert ended.value.code == 0 and wanted <= listed and len(wanted) > 20
    assert not set(PRECISIONS) - wanted & listed


def test_a_defect_stays_loud(monkeypatch):
    monkeypatch.setitem(cli.VERBS, "models", lambda _args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["models"])


def test_precisions_are_listed_with_their_memory_and_reasons(folder, capsys, monkeypatch):
    monkeypatch.setattr("quantlab.methods.bitsandbytes.missing_package", lambda name: name == "bitsandbytes")
    assert cli.main(["precisions", "--model", folder]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert set(PRECISIONS) <= set(rows)
    assert "yes" in rows["fp32"] and "MB" in rows["fp32"]
    assert " no " in rows["nf4"] and "it needs the package bitsandbytes" in rows["nf4"]


def test_models_are_listed(capsys):
    assert cli.main(["models"]) == 0
    out = capsys.readouterr().out
    assert "demo" in out and "shape:Mistral-7B-v0.3" in out and "random weights" in out


def test_serve_opens_the_page(monkeypatch):
    served = []
    monkeypatch.setitem(sys.modules, "quantlab.ui.launch", SimpleNamespace(serve=served.append))
    assert cli.main(["serve"]) == 0 and len(served) == 1


@pytest.mark.parametrize(
    "verb",
    [
        "print('x' * 10**6)",
        "print('x')",
        "__import__('rich.console').console.Console().print('xxxxxx\\n' * 2000)",
    ],
)
def test_a_reader_that_leaves_early_causes_no_complaint(verb):
    """As in `quantlab models | head -0`, with much and with little still to be written."""
    code = (
        f"from quantlab import cli\ncli.VERBS['models'] = lambda _: {verb} or 0\nraise SystemExit(cli.main(['models']))"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    started.stdout.close()
    err = started.stderr.read()
    assert (started.wait(60), err) == (1, "")


@pytest.mark.slow
def test_a_plain_comparison_leaves_nothing_on_the_terminal_but_ours(tmp_path):
    """Libraries warn of arguments that will go, of kernels that are missing, and draw bars of their own."""
    names = "fp32,int8,nf4,rtn-4,hqq-4,ao-int8"
    asked = ("--model", "demo", "--precisions", names, "--prompt", "Sanna", "--max-new-tokens", "4")
    environment = os.environ | {"QUANTLAB_HISTORY_FILE": str(tmp_path / "history.sqlite")}
    ran = subprocess.run(
        [sys.executable, "-m", "quantlab.cli", "compare", *asked],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert ran.returncode == 0, ran.stderr
    stages = ("loading", "answering", "timing again")
    wanted = [f"{name}: {stage}" for name in names.split(",") for stage in (*stages, "done")]
    told = [line.partition(", ")[0] for line in ran.stderr.splitlines()]
    assert [line for line in told if line not in wanted] == [] and "hqq-4: done" in told
    assert ran.stderr.replace("\n", "").isprintable()
    assert ran.stdout.startswith("fp32 (reference)")
    foreign = ("Warning", "warn", "[transformers]", "it/s", "Failed to", "kernels", "torchao/", "W1")
    assert [line for line in ran.stdout.splitlines() if any(word in line for word in foreign)] == []

"""The command line's ways with checkpoints: writing one, comparing with some, and those that are kept."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from quantlab import cli
from quantlab.checkpoints import load
from quantlab.checkpoints.store import MANIFEST, CheckpointStore
from quantlab.models.source import DEMO_FOLDER
from quantlab.runs import compare as comparison
from quantlab.runtime.variant_cache import VariantCache
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return str(tiny.write(tmp_path_factory.mktemp("llama"), "llama").folder)


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    yield
    comparison.variant_cache().drop_unused()


def compare(folder: str, *arguments: str) -> int:
    return cli.main(["compare", "--model", folder, "--precisions", "fp32,rtn-4", "--max-new-tokens", "4", *arguments])


@pytest.mark.slow
def test_quantize_writes_a_folder_that_compare_takes(folder, tmp_path, capsys):
    out = tmp_path / "quantized"
    assert cli.main(["quantize", "--model", folder, "--precision", "nf4", "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    file = tmp_path / "out.json"
    assert compare(folder, "--variant", str(out), "--variant", f"{folder}::nf4", "--json", str(file)) == 0
    runs = {run["precision"]: run for run in json.loads(file.read_text())["runs"]}
    assert list(runs) == ["fp32", "rtn-4", "quantized", f"{Path(folder).name}::nf4"]
    ours, theirs = runs["quantized"], runs[f"{Path(folder).name}::nf4"]
    assert ours["token_ids"] == theirs["token_ids"] and ours["stored_bytes"] == theirs["stored_bytes"]
    shown = capsys.readouterr().out
    assert "quantized" in shown and "nf4" in shown


def test_quantize_refuses_what_it_cannot_do(folder, tmp_path, capsys):
    quantize = ["quantize", "--model", folder, "--out", str(tmp_path / "out"), "--precision"]
    assert cli.main([*quantize, "nf44"]) == cli.REFUSED
    assert "Did you mean nf4" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    assert cli.main([*quantize, "nf4"]) == cli.REFUSED
    assert "not empty" in capsys.readouterr().err
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "mine"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("quantize", "--out", "out", "--precision", "rtn-4"), "rtn-4 has no checkpoint of its own"),
        (("compare", "--variant", "./nowhere"), "There is no folder './nowhere'"),
        (("compare", "--variant", "nowhere.gguf"), "There is no file 'nowhere.gguf'"),
        (("compare", "--variant", ""), "'' names no checkpoint"),
        (("compare", "--variant", "https://example.org/model"), "https://example.org/model is an address"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_is_refused_before_torch_is_imported(given, says, tmp_path):
    code = f"""
import sys
from quantlab import cli
code = cli.main({[*given]!r})
raise SystemExit("torch was imported" if "torch" in sys.modules else code)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (cli.REFUSED, "") and done.stderr.startswith("quantlab: ")
    assert says in done.stderr and len(done.stderr.splitlines()) == 2 and not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("spec", "says", "advice"),
    [
        ("demo::nf44", "Unknown precision 'nf44'", "Did you mean nf4"),
        (str(DEMO_FOLDER), "original weights", "demo-model::nf4"),
        ("demo::nf4", "tokenizer of demo is another one", "the model that it was made of"),
    ],
)
def test_a_checkpoint_that_cannot_be_compared_is_refused_before_anything_loads(
    folder, monkeypatch, capsys, spec, says, advice
):
    """The demo's ids mean other texts than those of the small Llama, whose tokenizer knows letters alone."""
    loaded = []
    monkeypatch.setattr(VariantCache, "lease", lambda self, variant, _progress: loaded.append(variant))
    assert compare(folder, "--variant", spec) == cli.REFUSED
    out, err = capsys.readouterr()
    assert says in err and advice in err and (out, loaded) == ("", [])


def test_the_cache_is_listed_and_cleared(monkeypatch, tmp_path, capsys):
    store = CheckpointStore(tmp_path, 10**9)
    monkeypatch.setattr(load, "checkpoint_store", lambda: store)
    (tmp_path / ".building" / "dead--nf4--012.345").mkdir(parents=True)
    for name in ("one--gptq-4--abc", "two--q4_k_m--def"):
        (tmp_path / name).mkdir()
        made = {"model": "m", "precision": "p", "build_s": 2.5, "built": "2026-01-01T00:00:00+00:00"}
        (tmp_path / name / MANIFEST).write_text(json.dumps(made))
    assert cli.main(["cache", "list"]) == 0
    shown = capsys.readouterr().out
    assert "one--gptq-4--abc" in shown and "two--q4_k_m--def" in shown and "2.50 s" in shown
    assert not any((tmp_path / ".building").iterdir()), "what a killed build left goes without being asked for"
    assert cli.main(["cache", "clear", "one--gptq-4--abd"]) == cli.REFUSED
    assert "Did you mean one--gptq-4--abc" in capsys.readouterr().err
    assert cli.main(["cache", "clear", "one--gptq-4--abc"]) == 0
    assert capsys.readouterr().out == "1 removed\n" and not (tmp_path / "one--gptq-4--abc").exists()
    assert cli.main(["cache", "clear"]) == 0 and store.entries() == ()

"""The public names, and docs/library.md: its examples run as they stand, and it names what there is."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import quantlab
from quantlab.errors import BadInput, Stopped, Unavailable
from quantlab.records import Text

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = (ROOT / "docs" / "library.md").read_text("utf-8")
EXAMPLES = dict(re.findall(r"^## ([^\n]+)\n.*?^```python\n(.*?)^```", DOCUMENT, re.S | re.M))
QUICK = quantlab.QualitySettings(windows=1, layers=False, new_tokens=3, noise_floor=False)


def run(heading: str, capsys) -> str:
    exec(compile(EXAMPLES[heading], f"docs/library.md, {heading}", "exec"), {"__name__": "example"})
    return capsys.readouterr().out


def test_every_chapter_has_an_example():
    assert list(EXAMPLES) == re.findall(r"^## (.+)$", DOCUMENT, re.M) and len(EXAMPLES) >= 6


def test_the_example_of_estimates(capsys):
    lines = run("What it would take", capsys).splitlines()
    sizes = {
        name: int(size.replace(",", "")) for name, size in re.findall(r"^(\S+): ([\d,]+) bytes", "\n".join(lines), re.M)
    }
    assert sizes["fp32"] > sizes["nf4"] > 0 and "stored: it " in "\n".join(lines)


def test_the_example_of_a_plan(capsys):
    wide, _, narrow, fits, trained, *suited = run("Will it fit?", capsys).splitlines()
    assert wide.startswith("bf16: 14,496,047,616 + 1,073,741,824 + ") and narrow.startswith("nf4: 4,463,286,784 + ")
    assert "fits: True" in fits and "6,815,744 trained parameters" in trained
    assert suited == ["numbers as typed bf16", "shape:Llama-2-70B none fits"]


def test_the_example_of_a_lesson(capsys):
    *asked, verdict = run("A lesson", capsys).splitlines()
    assert len(asked) == 6 and asked[1] == "2 Into which bucket does 0.1872 fall?"
    assert verdict.startswith("off You said 3.60 GB. It is 4.46 GB: 0.86 GB (")


@pytest.mark.slow
def test_the_example_of_a_comparison(capsys):
    last = run("One prompt, several precisions", capsys).splitlines()[-2:]
    assert [line.split()[0] for line in last] == ["fp32", "nf4"]


@pytest.mark.slow
def test_the_example_of_a_notebook():
    names: dict[str, object] = {}
    exec(compile(EXAMPLES["In a notebook"], "docs/library.md", "exec"), names)
    assert "Comparison of demo" in names["done"].comparison._repr_html_()


@pytest.mark.slow
def test_the_example_of_code(capsys):
    program = run("The same by hand", capsys)
    compile(program, "by_hand.py", "exec")
    assert 'answers["nf4"]' in program and 'answers["fp32"]' not in program


@pytest.mark.slow
def test_the_example_of_quality(capsys):
    reference, rounded = run("How far from the reference", capsys).splitlines()
    assert reference == "fp32 KLD 0.0000 nats, perplexity x 1.000"
    assert float(rounded.split()[2]) > 0.001


def test_the_example_of_a_checkpoint(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = run("A checkpoint for other programs", capsys)
    assert (tmp_path / "demo-nf4" / "config.json").is_file() and " of " in told and str(tmp_path / "demo-nf4") in told


def test_the_example_of_a_placement(capsys):
    assert int(run("Where it runs", capsys)) == len(quantlab.estimate("demo"))


def test_the_example_of_an_error(capsys):
    assert "Did you mean nf4?" in run("When it cannot be done", capsys)


def test_the_table_gives_the_arguments_as_they_are():
    rows = dict(re.findall(r"^\| `(\w+)\(([^)]*)\)` \|", DOCUMENT, re.M))
    functions = {name for name in quantlab.__all__ if inspect.isfunction(getattr(quantlab, name))}
    assert set(rows) == functions
    for name, written in rows.items():
        kinds = inspect.signature(getattr(quantlab, name)).parameters.values()
        there = [parameter.name for parameter in kinds if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
        renamed = {"precisions_asked": "precisions", "source": "name"}
        assert (written.split(", ") if written else []) == [renamed.get(parameter, parameter) for parameter in there], (
            name
        )


def test_type_checkers_see_the_names_that_programs_get():
    (block,) = (node for node in ast.parse(inspect.getsource(quantlab)).body if isinstance(node, ast.If))
    listed = [
        (node.module, alias.name) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    assert sorted(name for _, name in listed) == sorted(quantlab.__all__)
    for module, name in listed:
        assert getattr(importlib.import_module(module), name) is getattr(quantlab, name)


def test_the_records_and_functions_are_not_hidden_by_modules_of_the_same_name():
    importlib.import_module("quantlab.runs.quality")
    importlib.import_module("quantlab.runs.compare")
    assert inspect.isgeneratorfunction(quantlab.quality) and inspect.isgeneratorfunction(quantlab.compare)


def test_estimates_take_no_torch():
    code = "import sys, quantlab; print(len(quantlab.estimate('demo')), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    count, torch = done.stdout.split()
    assert int(count) > 20 and torch == "False"


@pytest.mark.slow
def test_quality_takes_a_text_or_its_name_and_measures_the_same():
    def kld(text: str | Text) -> float:
        *_, last = quantlab.quality("demo", ["fp32", "rtn-3"], text, QUICK)
        return last.quality.run("rtn-3").fidelity.kld.mean

    assert kld("demo") == pytest.approx(kld(quantlab.text("demo")), rel=1e-6)
    assert kld("demo") != pytest.approx(kld("english"), rel=1e-3)
    with pytest.raises(BadInput, match="'nowhere' cannot be read"):
        list(quantlab.quality("demo", ["fp32"], "nowhere", QUICK))


@pytest.mark.slow
def test_quantizing_tells_its_progress_and_stops_by_it(tmp_path):
    told = []
    saved = quantlab.quantize("demo", "int8", tmp_path / "whole", progress=lambda *step: told.append(step))
    assert saved.folder == tmp_path / "whole" and not saved.reused
    assert saved.nbytes == sum(file.stat().st_size for file in saved.folder.rglob("*") if file.is_file())
    assert told and all(0 <= done <= total for done, total, _ in told if total)

    def stop(*_step: object) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        quantlab.quantize("demo", "int8", tmp_path / "half", progress=stop)
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Stopped):
        quantlab.quantize("demo", "int8", tmp_path / "half", stop=stopped)
    with pytest.raises(Unavailable, match="no checkpoint of its own"):
        quantlab.quantize("demo", "rtn-4", tmp_path / "half")
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]

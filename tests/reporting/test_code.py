"""A comparison as a program: it runs, gives the very tokens of the comparison, and no text gets out of its quotes."""

import ast
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import quantlab
from quantlab.errors import BadInput
from quantlab.methods import METHODS, PRECISIONS, precision
from quantlab.models import smollm2
from quantlab.models.source import DEMO_FOLDER
from quantlab.records import Calibration, Comparison, Model, Placement, Settings
from quantlab.reporting.code import code
from tests.examples import example_comparison, example_run

PROMPT = "Tell me a story about Sanna Corsa."
CPU = [name for name in PRECISIONS if not name.startswith(("stored", "ao-int4"))]
MONOTONOUS = ("rtn-2-sym", "hqq-1")
#: Typed by somebody who tests what comes of it.
HOSTILE = '"""); import os; os.abort()  # \' \\ {x} {{y}} %s \n\r\x00\x1b \u2028 ü 😀 </script>'


def compared(precisions: list[str], dtype: str = "float32", **settings) -> Comparison:
    # Few windows of calibration: what is made need not be good, but the same.
    asked = Settings(
        max_new_tokens=24, placement=Placement("cpu", dtype), calibration=Calibration(samples=8, length=128), **settings
    )
    *_, done = quantlab.compare("demo", precisions, PROMPT, asked)
    return done.comparison


def run(program: str, monkeypatch, folder: Path) -> dict[str, list[int]]:
    """The answers of a program. What it would start another Python for is done in this one."""
    from quantlab.cli import main

    def here(words, check):
        assert words[:3] == [sys.executable, "-m", "quantlab.cli"] and check
        assert main(words[3:]) == 0

    monkeypatch.chdir(folder)
    monkeypatch.setattr(subprocess, "run", here)
    names: dict[str, object] = {"__name__": "by_hand"}
    exec(compile(program, "by_hand.py", "exec"), names)
    return names["answers"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CPU, "rtn-4-g32-sym", "fp32+kv-int8", "nf4+kv-int2", "q4_k_m+kv-q8_0"])
def test_the_program_gives_the_tokens_of_the_comparison(name, monkeypatch, tmp_path, at_once):
    if (why := METHODS[precision(name).method].unavailable("cpu")) is not None:
        pytest.skip(f"{name} {why}")
    comparison = compared([name])
    expected = comparison.run(name)
    # What is left of 1 and 2 bits may say one word again and again.
    assert expected.error is None and len(set(expected.token_ids)) > (0 if name in MONOTONOUS else 5)
    answers = run(code(comparison), monkeypatch, tmp_path)
    assert answers == {name: list(expected.token_ids)}


@pytest.mark.slow
def test_several_columns_in_one_program_and_in_16_bits(monkeypatch, tmp_path, capsys):
    comparison = compared(["bf16", "nf4", "rtn-3", "hqq-3", "int8"], "bfloat16")
    answers = run(code(comparison), monkeypatch, tmp_path)
    assert answers == {run.precision: list(run.token_ids) for run in comparison.runs}
    shown = capsys.readouterr().out
    assert all(f"--- {run.precision}\n" in shown and run.text.strip() in shown for run in comparison.runs)
    assert list(run_of(comparison, monkeypatch, tmp_path, ["nf4"])) == ["nf4"]


def run_of(comparison: Comparison, monkeypatch, folder: Path, names: list[str]) -> dict[str, list[int]]:
    return run(code(comparison, names), monkeypatch, folder)


@pytest.mark.slow
def test_without_the_chat_template_and_with_any_prompt(monkeypatch, tmp_path):
    asked = Settings(max_new_tokens=9, raw=True, placement=Placement("cpu"))
    prompt = "He said: \"It's {one} \\ two\"\n\tand 'three' % s"
    *_, done = quantlab.compare("demo", ["fp32"], prompt, asked)
    expected = {"fp32": list(done.comparison.run("fp32").token_ids)}
    assert run(code(done.comparison), monkeypatch, tmp_path) == expected
    *_, done = quantlab.compare("demo", ["fp32"], prompt, replace(asked, raw=False))
    assert run(code(done.comparison), monkeypatch, tmp_path) == {"fp32": list(done.comparison.runs[0].token_ids)}


@pytest.mark.slow
def test_published_checkpoints_go_by_what_was_typed(monkeypatch, tmp_path):
    quantlab.quantize("demo", "nf4", tmp_path / "mine it's", Placement("cpu", "float32"))
    typed = ["fp32", str(tmp_path / "mine it's"), "demo::rtn-4"]
    comparison = compared(typed)
    with pytest.raises(BadInput, match="no column 'fp16'"):
        code(comparison, ["fp16"])
    answers = run(code(comparison, typed), monkeypatch, tmp_path)
    assert [*answers] == ["fp32", "mine it's", "demo::rtn-4"]
    assert answers["mine it's"] == list(comparison.run("mine it's").token_ids)
    assert answers["demo::rtn-4"] == list(comparison.run("demo::rtn-4").token_ids)


@pytest.mark.slow
@pytest.mark.skipif(smollm2.packaged() is None, reason=f"the package is not here: {smollm2.INSTALL}")
def test_a_real_model_by_hand(monkeypatch, tmp_path):
    monkeypatch.setattr(smollm2.hub, "reachable", lambda patience_s: False)
    monkeypatch.setattr(smollm2.hub, "in_cache", lambda repo, commit: False)
    asked = Settings(max_new_tokens=12, placement=Placement("cpu", "float32"))
    *_, done = quantlab.compare("smollm2", ["fp32", "nf4", "rtn-4"], "What is the capital of France?", asked)
    comparison = done.comparison
    assert "Paris" in comparison.run("fp32").text
    answers = run(code(comparison), monkeypatch, tmp_path)
    assert answers == {run.precision: list(run.token_ids) for run in comparison.runs}


@pytest.mark.slow
def test_a_program_is_started_by_itself_and_leaves_the_terminal_to_its_answers(tmp_path):
    program = tmp_path / "by_hand.py"
    comparison = compared(["fp32", "int8", "nf4"], "bfloat16")
    program.write_text(code(comparison), encoding="utf-8")
    done = subprocess.run([sys.executable, program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert all(run.text.strip() in done.stdout for run in comparison.runs)
    bars = [line for line in re.split("[\n\r]+", done.stderr) if line.startswith("Loading weights:")]
    assert re.split("[\n\r]+", done.stderr.strip()) == bars, "of each load its progress, and nothing else"


def hostile(comparison: Comparison) -> Comparison:
    runs = tuple(replace(run, precision=f"{run.precision} {HOSTILE}", error=None) for run in comparison.runs)
    model = Model(HOSTILE, "folder", Path(HOSTILE.replace("\0", "")), HOSTILE)
    return replace(comparison, prompt=HOSTILE, model=model, runs=runs)


@pytest.mark.parametrize("raw", [False, True])
def test_no_text_becomes_code(raw):
    comparison = example_comparison(("fp32", "nf4"), {}, None)
    plain = ast.parse(code(comparison))
    same = replace(comparison, prompt=HOSTILE, model=hostile(comparison).model)
    tree = ast.parse(code(same))
    assert [type(node).__name__ for node in ast.walk(tree)] == [type(node).__name__ for node in ast.walk(plain)]
    assert {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} >= {HOSTILE}
    columns = ast.parse(code(replace(hostile(comparison), settings=replace(comparison.settings, raw=raw))))
    names = {node.id for node in ast.walk(columns) if isinstance(node, ast.Name)}
    assert not {"os", "abort"} & names


def written(*precisions: str, model: Model | None = None, **settings) -> str:
    base = example_comparison(("fp32",), {}, None)
    runs = tuple(replace(example_run("fp32", "fp32", 8), precision=name) for name in precisions)
    program = code(replace(base, runs=runs, model=model or base.model, settings=replace(base.settings, **settings)))
    ast.parse(program)
    return program


def test_sampling_is_written_and_said_to_draw_otherwise():
    program = written("fp32", "q8_0", sample=True, temperature=0.7, top_k=9, top_p=0.8, seed=5)
    assert "do_sample=True, temperature=0.7, top_k=9, top_p=0.8" in program and "torch.manual_seed(5)" in program
    assert "temp=0.7, top_k=9, top_p=0.8, min_p=0.0" in program and "seed=5" in program
    assert "numbers of their own, so the words differ" in program
    assert "manual_seed" not in written("fp32") and "temp=0.0" in written("q8_0")


def test_where_it_runs_is_written():
    program = written("fp32", "nf4", "q8_0", placement=Placement("cuda:0", "float16"))
    assert 'device_map="cuda:0"' in program and "dtype=torch.float16" in program and "n_gpu_layers=-1" in program
    assert "bnb_4bit_compute_dtype=torch.float16" in program
    spread = written("fp32", placement=Placement("cuda", device_map=(("", "cpu"),)))
    assert "device_map={'': 'cpu'}" in spread


def test_a_model_of_the_hub_has_its_revision():
    program = written("fp32", "gptq-4", model=Model("owner/name", "hub", Path("/cache/x"), "abc123"))
    assert 'model_id = "owner/name"' in program and program.count('revision="abc123"') == 2
    assert '"--model", "owner/name@abc123"' in program and "/cache" not in program


def test_random_weights_are_said_to_be_others():
    program = written("bf16", model=Model("shape:Qwen3-0.6B", "shape", None))
    assert "from_config(config" in program and "Qwen3-0.6B.json" in program and "so the words differ" in program


def test_a_gguf_file_runs_by_llama_cpp_alone():
    mine = Model("/home/me/My.gguf", "gguf", Path("/c/d"), None, origin=Path("/home/me/My.gguf"))
    program = written("stored", "stored+kv-q8_0", model=mine)
    assert "transformers" not in program and 'gguf_file = "/home/me/My.gguf"' in program
    assert "Jinja2ChatFormatter" in program and "flash_attn=True" in program
    assert '"--precision", "fp32"' in written("stored", "nf4", model=mine)
    assert "add_bos=True" in written("stored", model=mine, raw=True)


def test_where_files_lie_is_kept_from_a_public_page():
    mine = Model("/home/me/mine", "folder", Path("/home/me/mine"))
    base = example_comparison(("fp32",), {}, None)
    assert "/home/me" in code(replace(base, model=mine))
    assert "/home/me" not in code(replace(base, model=mine), private=True)


def test_a_folder_that_is_not_known_is_asked_for():
    base = example_comparison(("fp32",), {}, None)
    kept = code(replace(base, model=Model("mine", "folder", None)))
    assert "Where it lies is not kept" in kept and 'model_id = "mine"' in kept
    assert "Where it lies" not in code(replace(base, model=Model("mine", "folder", Path("/home/me/mine"))))
    assert "assets/demo-model of quantlab's repository" in code(base, private=True)


@pytest.mark.parametrize("precisions", [("fp32",), ("q8_0",), ("/home/me/published",)])
@pytest.mark.parametrize(
    "model",
    [
        Model("demo", "demo", DEMO_FOLDER),
        Model("/home/me/mine", "folder", Path("/home/me/mine")),
        Model("/home/me/My.gguf", "gguf", Path("/c/d"), None, origin=Path("/home/me/My.gguf")),
        Model("owner/name", "hub", Path("/cache/x"), "abc123"),
        Model("shape:Qwen3-0.6B", "shape", None),
    ],
)
def test_a_path_of_this_machine_is_said_to_be_one(model, precisions):
    base = example_comparison(("fp32",), {}, None)
    runs = tuple(replace(base.runs[0], precision=name) for name in precisions)
    for private in (False, True):
        program = code(replace(base, model=model, runs=runs, prompt="/etc is what?"), private=private)
        texts = [it.value for it in ast.walk(ast.parse(program)) if isinstance(it, ast.Constant)]
        places = [it for it in texts if isinstance(it, str) and it.startswith("/") and it != "/etc is what?"]
        assert ("of the machine on which it was written" in program) == bool(places), places
    assert "assets/demo-model of quantlab's" in written("fp32")


def test_the_versions_that_it_needs_are_named_and_nothing_else_gets_out_of_the_comment():
    base = example_comparison(("fp32", "nf4"), {}, None)
    found = {
        "python": "3.11.7",
        "torch": "2.13.0+cpu",
        "bitsandbytes": "0.50.2",
        "hqq": "0.2",
        "transformers": "5\nx()",
    }
    program = code(replace(base, versions=found))
    assert "# The comparison ran on: python 3.11.7, torch 2.13.0+cpu, bitsandbytes 0.50.2.\n" in program
    assert "x()" not in program and "ran on" not in code(replace(base, versions={}))


def test_what_failed_and_what_is_not_known_is_said():
    program = code(example_comparison(("fp32", "int8"), {"int8": ("No room.\nimport os", "")}))
    assert '# "int8" did not run in the comparison.' in program and "BitsAndBytesConfig" not in program
    assert "answers = {}" in code(example_comparison(("fp32",), {"fp32": ("No room.", "")}))


def test_every_precision_on_offer_is_written():
    for name in PRECISIONS:
        assert "is not known" not in written(name) and f'answers["{name}"]' in written(name)


def test_it_is_a_public_name():
    assert quantlab.code(example_comparison()) == code(example_comparison())

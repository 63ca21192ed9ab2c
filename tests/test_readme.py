"""What the README shows must work: its commands, its Python, its method."""

import re
import shlex
import types
from pathlib import Path

import pytest

import quantlab
from quantlab import cli
from quantlab.models import checkpoint
from quantlab.records import Placement, silent
from quantlab.runtime.placement import resolve
from tests import tiny

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.partition("#")[0].removeprefix("      - run: ")
    for language, block in BLOCKS
    if language in ("sh", "yaml")
    for line in block.splitlines()
    if line.startswith(("quantlab ", "      - run: quantlab "))
]


def test_commands_are_found():
    assert len(COMMANDS) >= 4 and any("--junit" in command for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command):
    arguments = cli.parser().parse_args(shlex.split(command)[1:])
    assert arguments.verb in cli.VERBS


@pytest.mark.slow
def test_the_python_example_runs(capsys):
    (example,) = (block for language, block in BLOCKS if language == "python" and block.startswith("import quantlab"))
    exec(compile(example, "README.md", "exec"), {"quantlab": quantlab})
    assert "nf4" in capsys.readouterr().out


def test_the_example_method_keeps_the_contract(tmp_path):
    (example,) = (block for language, block in BLOCKS if language == "python" and "class Float8(Method):" in block)
    module = types.ModuleType("float8")
    exec(compile(example, "README.md", "exec"), module.__dict__)
    method, placement = module.FLOAT8, resolve(Placement("cpu"))
    model = tiny.write(tmp_path, "llama")
    (fp8,) = method.precisions
    method.prepare()
    loaded = method.load(model, fp8, placement, silent)
    storage = loaded.storage()
    assert loaded.start().forward([1, 40]).isfinite().all()
    assert storage.bits_per_quantized_weight == pytest.approx(8, rel=0.1)
    planned = method.estimate(fp8, placement, checkpoint(model))
    assert planned == storage.total

"""Methods of other packages: found by entry point, listed and run like any other, left out where they are faulty."""

import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from quantlab import models
from quantlab.errors import ModelError
from quantlab.methods import METHODS, OWN, PRECISIONS, plugins
from quantlab.methods.base import Method
from quantlab.records import Placement, Precision
from quantlab.runs import estimates
from quantlab.settings import AppSettings

ROOT = Path(__file__).resolve().parents[2]
(FLOAT8,) = re.findall(r"```python\n(\"\"\"float8.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
ENTRIES = """[quantlab.methods]
float8 = float8_of_another:FLOAT8
again = float8_of_another:FLOAT8
gone = no_such_module:METHOD
kind = float8_of_another:Float8
leaves = leaves_at_once:METHOD
nothing = float8_of_another:NOTHING
"""
PROGRAM = """
import sys
from float8_of_another import FLOAT8  # its module imports quantlab.methods, and is not looked for by that
from quantlab import cli, methods
assert methods.METHODS["float8"] is FLOAT8 and [*methods.METHODS][-1] == "float8"
sys.exit(cli.main(sys.argv[1:]))
"""


class Plain(Method):
    name, title = "plain", "plain"
    precisions = (Precision("plain-4", "plain", 4, "four bits"),)


@pytest.fixture
def packages(tmp_path) -> dict[str, str]:
    """The environment of a process that has another package installed, whose entry points are `ENTRIES`."""
    (tmp_path / "float8_of_another.py").write_text(FLOAT8)
    (tmp_path / "leaves_at_once.py").write_text("raise SystemExit('no licence')")
    info = tmp_path / "another-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: another\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    return {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "COLUMNS": "200"}


def quantlab(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_list_shows_it_like_any_other_and_what_is_faulty_is_one_line(packages):
    done = quantlab(packages, "precisions", "--model", "demo")
    (row,) = (line for line in done.stdout.splitlines() if re.search(r"\bfp8\b", line))
    assert done.returncode == 0 and "MB" in row and "rtn-4" in done.stdout
    # In the order of their names, of which the first is taken.
    left_out = [line.removeprefix("The method ") for line in done.stderr.splitlines()]
    assert [line.partition(" of the package another is left out: ")[::2] for line in left_out] == [
        ("float8", "there is a method float8 already."),
        ("gone", "it broke with ModuleNotFoundError: No module named 'no_such_module'."),
        ("kind", "it is no instance of quantlab.methods.base.Method."),
        ("leaves", "it broke with SystemExit: no licence."),
        ("nothing", "it broke with AttributeError: module 'float8_of_another' has no attribute 'NOTHING'."),
    ]


@pytest.mark.slow
def test_it_runs_beside_the_others_and_in_public_too(packages):
    asked = ("compare", "--model", "demo", "--precisions", "fp32,fp8", "--max-new-tokens", "3", "--json", "-")
    done = quantlab({**packages, "QUANTLAB_PUBLIC": "1"}, *asked)
    assert done.returncode == 0, done.stderr
    reference, ours = json.loads(done.stdout)["runs"]
    assert (reference["precision"], ours["precision"], ours["error"]) == ("fp32", "fp8", None)
    assert ours["kernel"] == "float8 cast + torch matmul"
    assert 0 < ours["stored_bytes"] < reference["stored_bytes"]


def test_the_tables_hold_quantlab_s_own_first():
    assert tuple(METHODS.values())[: len(OWN)] == OWN and "fp32" in PRECISIONS and "fp99" not in PRECISIONS
    assert repr(plugins.Table(lambda: {"a": 1})) == "Table({'a': 1})"


def test_a_table_is_made_when_it_is_read_and_once():
    made: list[int] = []
    table = plugins.Table(lambda: made.append(1) or {"a": 1})
    assert made == []
    assert (table["a"], len(table), list(table), made) == (1, 1, ["a"], [1])


def test_what_keeps_the_rules_is_taken():
    assert plugins.fault(Plain(), OWN) is None


def with_precision(**changes: object) -> Method:
    method = Plain()
    method.precisions = (replace(Plain.precisions[0], **changes),)
    return method


def with_attributes(**changes: object) -> Method:
    method = Plain()
    for name, value in changes.items():
        setattr(method, name, value)
    return method


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (Plain, "no instance of"),
        (None, "no instance of"),
        (with_attributes(name="Plain Method"), "needs a name of small letters"),
        (with_attributes(title=" "), "and a title"),
        (with_attributes(name="rtn"), "there is a method rtn already"),
        (with_attributes(precisions=()), "at least one in it"),
        (with_attributes(precisions=["plain-4"]), "no tuple of"),
        (with_attributes(precisions=Plain.precisions * 2), "there is a precision plain-4 already"),
        (with_precision(name="nf4"), "there is a precision nf4 already"),
        (with_precision(name="rtn-4-g32"), "there is a precision rtn-4-g32 already"),
        (with_precision(name="gptq-4-g0"), "there is a precision gptq-4-g0 already"),
        (with_precision(name="a/b"), "'a/b' needs a name of small letters"),
        (with_precision(name="a,b"), "'a,b' needs a name of small letters"),
        (with_precision(name="m.gguf"), "'m.gguf' needs a name of small letters"),
        (with_precision(method="rtn"), "says that it is one of rtn"),
        (with_precision(bits=0), "says that it has 0 bits"),
        (with_precision(bits="4"), "says that it has '4' bits"),
        (with_precision(summary=""), "has no summary"),
        (with_attributes(parse=lambda name: Plain.precisions[0]), "knows every name"),
        (with_attributes(parse=lambda name: None), "does not know plain-4"),
        (with_attributes(unavailable=lambda device: True), "neither words nor None"),
    ],
)
def test_what_breaks_a_rule_is_left_out_with_the_reason(method, reason, monkeypatch, caplog):
    assert reason in plugins.fault(method, OWN)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [EntryPoint("it", "a:b", group)])
    monkeypatch.setattr(EntryPoint, "load", lambda self: method)
    with caplog.at_level(logging.WARNING):
        assert plugins.installed(OWN) == ()
    (line,) = caplog.messages
    assert reason in line and line.startswith("The method it of an unnamed package is left out: ") and "\n" not in line


def test_a_question_that_breaks_it_leaves_it_out(monkeypatch, caplog):
    def broken(_device: str) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(plugins, "entry_points", lambda group: [EntryPoint("it", "a:b", group)])
    monkeypatch.setattr(EntryPoint, "load", lambda self: with_attributes(unavailable=broken))
    assert plugins.installed(OWN) == ()
    assert caplog.messages[0].endswith("is left out: it broke with ZeroDivisionError: two lines.")


@pytest.mark.parametrize("error", [ZeroDivisionError("no rows"), ModelError("cannot be built")])
def test_a_list_outlives_another_package_s_defect_and_only_that(error, monkeypatch, caplog):
    def broken(*_asked: object) -> int:
        raise error

    tables = {**METHODS, "plain": with_attributes(estimate=broken)}
    monkeypatch.setattr("quantlab.methods.METHODS", tables)
    monkeypatch.setattr(estimates, "METHODS", tables)
    demo = models.peek("demo", AppSettings(public=False))
    if isinstance(error, ModelError):
        with pytest.raises(ModelError):
            estimates.estimates(demo, Placement("cpu"))
        return
    found = {one.precision.name: one for one in estimates.estimates(demo, Placement("cpu"))}
    assert found["plain-4"].unavailable.startswith("broke when it was asked for its memory (ZeroDivisionError)")
    assert (found["plain-4"].fits, found["rtn-4"].unavailable) == (None, None)
    assert caplog.messages == ["plain-4 broke when it was asked for its memory: ZeroDivisionError: no rows"]
    monkeypatch.setattr(type(METHODS["rtn"]), "estimate", broken)
    with pytest.raises(ZeroDivisionError):
        estimates.estimates(demo, Placement("cpu"))

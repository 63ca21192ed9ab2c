"""`quantlab quality --fail-...`: exit codes, lines and JUnit XML, on the demo model."""

import json
from xml.etree import ElementTree

import pytest

from quantlab import cli
from quantlab.cli.gate import BROKEN, NOT_MEASURED
from quantlab.errors import Stopped
from quantlab.records.events import QualityDone
from quantlab.runs.compare import variant_cache
from tests.quality_examples import quality

GATE = [
    *("quality", "--model", "demo", "--windows", "1", "--no-layers", "--no-noise-floor"),
    *("--compute-dtype", "float32", "--device", "cpu"),
]


@pytest.fixture(autouse=True)
def history(tmp_path, monkeypatch):
    """A history of the test's own, and no variant left behind."""
    from quantlab.settings import app_settings

    monkeypatch.setenv("QUANTLAB_HISTORY_FILE", str(tmp_path / "history.sqlite"))
    app_settings.cache_clear()
    yield
    app_settings.cache_clear()
    variant_cache().drop_unused()


def gate(*arguments: str, precisions: str = "fp32,rtn-8") -> int:
    return cli.main([*GATE, "--precisions", precisions, *arguments])


def counts(file) -> tuple[int, int, int]:
    suite = ElementTree.parse(file).getroot()[0]
    return tuple(int(suite.get(name)) for name in ("tests", "failures", "errors"))


@pytest.mark.slow
def test_all_that_holds_ends_with_0_and_a_line_each(capsys, tmp_path):
    file = tmp_path / "gate.xml"
    assert gate("--fail-above-kld", "0.01", "--fail-above-memory", "200MB", "--junit", str(file)) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in told[-2:]] == ["held: rtn-8", "held: rtn-8"]
    assert "; limit 0.01 nats" in told[-2] and "; limit 200 MB (200,000,000 bytes)" in told[-1]
    assert counts(file) == (2, 0, 0)
    case = ElementTree.parse(file).getroot().find(".//testcase")
    assert float(case.get("time")) > 0 and case.get("name") == "rtn-8: mean KLD"


@pytest.mark.slow
def test_a_broken_limit_ends_with_3_also_beside_one_that_was_not_measured(capsys, tmp_path):
    file = tmp_path / "gate.xml"
    # torchao's int4 needs CUDA, and the device is the CPU: a column that fails.
    asked = ("--fail-above-kld", "1e-9", "--junit", str(file))
    assert gate(*asked, precisions="fp32,rtn-8,ao-int4") == BROKEN == 3
    told = capsys.readouterr().out
    assert "\nabove: rtn-8, mean KLD " in told and "\nnot measured: ao-int4, mean KLD: it failed." in told
    assert counts(file) == (2, 1, 1)


@pytest.mark.slow
def test_what_could_not_be_measured_ends_with_4_and_json_stays_json(capsys, tmp_path):
    file = tmp_path / "gate.xml"
    asked = ("--fail-above-memory", "1GB", "--junit", str(file), "--json", "-")
    assert gate(*asked, precisions="fp32,rtn-8,ao-int4") == NOT_MEASURED == 4
    told = capsys.readouterr()
    assert json.loads(told.out)["reference"] == "fp32"
    assert "held: rtn-8, stored memory" in told.err and "not measured: ao-int4, stored memory" in told.err
    assert counts(file) == (2, 0, 1)


@pytest.mark.slow
def test_a_speed_that_bears_no_claim_ends_with_4(capsys, monkeypatch):
    monkeypatch.setattr("quantlab.measure.trust.doubt", lambda run: "the machine was busy")
    assert gate("--fail-below-speed", "0") == NOT_MEASURED
    assert "not measured: rtn-8, decode speed: the machine was busy; limit 0 tok/s" in capsys.readouterr().out


@pytest.mark.slow
def test_a_speed_that_bears_a_claim_is_held_to_its_limit(capsys, monkeypatch):
    monkeypatch.setattr("quantlab.measure.trust.doubt", lambda run: "")
    assert gate("--fail-below-speed", "1e9") == BROKEN and "below: rtn-8, decode speed " in capsys.readouterr().out


@pytest.mark.parametrize("limit", ["nan", "inf", "-1", "-0.5", "much", "", "1e999", "0,05"])
@pytest.mark.parametrize("option", ["--fail-above-kld", "--fail-below-speed", "--fail-above-memory"])
def test_a_limit_that_is_none_is_refused_at_once(capsys, monkeypatch, option, limit):
    monkeypatch.setattr("quantlab.runs.recorded.recorded_quality", None)
    with pytest.raises(SystemExit) as ended:
        gate(f"{option}={limit}")
    assert ended.value.code == cli.REFUSED
    said = capsys.readouterr().err
    assert f"argument {option}: {limit!r} is no " in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--junit", "gate.xml"], "none was given"),
        (["--junit", "-", "--fail-above-kld", "1"], "name of a file"),
        (["--junit", "", "--fail-above-kld", "1"], "name of a file"),
        (["--junit", "/no/such/folder/x.xml", "--fail-above-kld", "1"], "no folder"),
        (["--junit", ".", "--fail-above-kld", "1"], "cannot be written"),
        (["--junit", "a.out", "--json", "./a.out", "--fail-above-kld", "1"], "name the same file"),
        (["--card", "-", "--json", "-"], "name the same file"),
        (["--card", "/no/such/folder/x.md"], "no folder"),
        (["--card", "", "--json", "b.out"], "cannot be written"),
        (["--precisions", "fp32", "--fail-above-kld", "1"], "held to no limit"),
        (["--precisions", "fp32,fp32", "--fail-above-kld", "1"], "held to no limit"),
    ],
)
def test_what_would_say_nothing_is_refused_before_anything_loads(capsys, monkeypatch, tmp_path, arguments, told):
    monkeypatch.setattr("quantlab.runs.recorded.recorded_quality", None)
    monkeypatch.chdir(tmp_path)
    assert gate(*arguments) == cli.REFUSED
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said


def test_a_run_that_does_not_end_leaves_no_pass_of_an_earlier_one(monkeypatch, tmp_path):
    file = tmp_path / "gate.xml"
    file.write_text("an earlier run")

    def stopped(*_asked, **_more):
        raise Stopped
        yield

    monkeypatch.setattr("quantlab.runs.recorded.recorded_quality", stopped)
    assert gate("--fail-above-kld", "1", "--junit", str(file)) == cli.INTERRUPTED
    assert counts(file) == (1, 0, 1)


def test_who_stops_it_gets_130_and_what_was_not_measured_is_told(monkeypatch, capsys, tmp_path):
    file = tmp_path / "gate.xml"

    def interrupted(*_asked, stop, on):
        stop.set()
        yield QualityDone(quality(("fp32", "bf16", "nf4"), errors={}, stopped="nf4"))

    monkeypatch.setattr("quantlab.runs.recorded.recorded_quality", interrupted)
    assert gate("--fail-above-kld", "1e-9", "--junit", str(file)) == cli.INTERRUPTED
    assert counts(file) == (2, 1, 1) and "not measured: nf4, mean KLD: it was stopped" in capsys.readouterr().out


@pytest.mark.slow
def test_the_card_goes_to_a_file_or_alone_to_standard_output(capsys, tmp_path):
    file, junit = tmp_path / "card.md", tmp_path / "gate.xml"
    assert gate("--card", "-", "--fail-above-memory", "1GB", "--junit", str(junit)) == 0
    told = capsys.readouterr()
    assert told.out.startswith("## What quantization costs demo\n") and "| `rtn-8` |" in told.out
    assert "held: rtn-8" in told.err and "held" not in told.out
    assert gate("--card", str(file)) == 0 and "Smallest under" in capsys.readouterr().out
    assert file.read_text("utf-8").startswith("## What quantization costs demo\n")

"""`quantlab lesson` without a terminal: the question, the verdict, what is refused; and the same in Python."""

import json
import sys

import pytest

import quantlab
from quantlab import cli
from quantlab.cli import lesson as verb
from quantlab.errors import BadInput
from quantlab.teach.recorded import recorded


def test_the_list(capsys):
    assert cli.main(["lesson"]) == 0
    told = capsys.readouterr().out
    assert "2. Buckets" in told and "6. Choosing for a machine" in told and "quantlab lesson 1" in told


def test_a_prediction_gets_its_verdict(capsys):
    assert cli.main(["lesson", "2", "--predict", "-2"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Into which bucket does 0.1872 fall?" in told and "Off. You said −2. It is 3: 5 too low." in told
    assert "What happens to the small ones, and why?" in told and "{" not in told


def test_as_json(capsys, tmp_path):
    assert cli.main(["lesson", "3", "--predict", "3,6", "--json", "-"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == "quantlab.lesson/1" and data["question"]["id"] == "lesson-3/gigabytes"
    assert data["verdict"]["prediction"] == 3.6 and data["truth"]["value"] == pytest.approx(4.463, abs=1e-3)
    assert cli.main(["lesson", "6", "--predict", "none of them", "--json", str(tmp_path / "it.json")]) == 0
    assert json.loads((tmp_path / "it.json").read_text())["verdict"]["outcome"] == "off"


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (["7", "--predict", "1"], "There is no lesson 7"),
        (["2"], "There is no prediction yet"),
        (["2", "--predict", ""], "There is no prediction yet"),
        (["2", "--predict", "nan"], "'nan' is no number"),
        (["4", "--predict", "stories"], "Unknown answer 'stories'"),
        (["2", "--predict", "3", "--measure"], "This lesson runs no model"),
        (["2", "--predict", "3", "--json", "/nowhere/it.json"], "There is no folder"),
    ],
)
def test_what_is_refused(given, what, capsys):
    assert cli.main(["lesson", *given]) == cli.REFUSED
    assert what in capsys.readouterr().err


def test_at_a_terminal_it_asks(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda asked: "3")
    assert cli.main(["lesson", "2"]) == 0
    assert "Right. You said 3. It is 3: exactly right." in capsys.readouterr().out


def test_measured_here(monkeypatch, capsys):
    record = recorded("lesson-1").record
    monkeypatch.setattr(verb, "_measured", lambda lesson: record)
    assert cli.main(["lesson", "1", "--predict", "5", "--measure"]) == 0
    assert "Measured here: " in capsys.readouterr().out


def test_in_python():
    lessons = quantlab.lessons()
    assert len(lessons) == 6 and lessons[1].question.ask == "Into which bucket does 0.1872 fall?"
    assert "{" not in lessons[2].texts["predict"]
    verdict, truth = quantlab.judge(2, 3)
    assert verdict.outcome == "right" and truth.value == 3
    verdict, truth = quantlab.judge(1, 0, run=recorded("lesson-1").record)
    assert truth.source.startswith("Measured here") and verdict.off == -truth.value
    with pytest.raises(BadInput, match="no prediction yet"):
        quantlab.judge(2, "")
    with pytest.raises(BadInput, match="no lesson 9"):
        quantlab.judge(9, 3)

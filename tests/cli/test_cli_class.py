"""`quantlab class` from the terminal."""

import pytest

from quantlab.cli import main
from quantlab.settings import app_settings
from quantlab.teach.catalog import catalog
from quantlab.teach.classroom import open_classroom
from quantlab.teach.quiz.questions import bundled


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTLAB_CLASSROOM_FILE", str(tmp_path / "classroom.sqlite"))
    app_settings.cache_clear()
    yield
    app_settings.cache_clear()


def test_a_class_is_opened_and_its_board_shown(capsys):
    assert main(["class", "open"]) == 0
    code = capsys.readouterr().out.strip()
    question = bundled()[0]
    room = open_classroom(app_settings(), catalog(app_settings()))
    for number in range(3):
        room.answer(code, question.key, f"visitor-{number}", question.quantized if number else "fp32")
    assert main(["class", "board", code.lower()]) == 0
    shown = capsys.readouterr().out
    assert f"Class {code}: 3 visitors" in shown
    assert f"2 of 3 found {question.quantized}; by guessing alone so many, or more, would come about in" in shown
    assert "50 of 100 classes" in " ".join(shown.split()) and f"fp32 1, {question.quantized} 2" in shown


def test_a_class_that_is_not_there_and_a_page_without_classes(capsys, monkeypatch):
    assert main(["class", "board", "777777"]) == 2
    assert "There is no class 777777." in capsys.readouterr().err
    monkeypatch.setenv("QUANTLAB_CLASSROOM_FILE", "")
    app_settings.cache_clear()
    assert main(["class", "open"]) == 2 and "QUANTLAB_CLASSROOM_FILE" in capsys.readouterr().err

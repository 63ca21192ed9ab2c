"""Questions of one's own: what a comparison becomes, and what lies in the folder by mistake."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from quantlab.errors import BadInput, QuantlabError
from quantlab.export import to_json
from quantlab.settings import AppSettings
from quantlab.teach.catalog import catalog
from quantlab.teach.quiz import own
from quantlab.teach.quiz.questions import bundled
from tests.teach.quiz.test_questions import compared


def test_the_hardest_answer_becomes_the_question(tmp_path):
    made = own.make(tmp_path / "quiz", compared("fp32", "bf16", "int8", "nf4", "rtn-2", bf16="fp32", int8="fp32"))
    assert made.quantized == "nf4" and made.options == ("fp32", "nf4"), "int8 said the same, rtn-2 is farther"
    found = own.every(tmp_path / "quiz")
    assert found[0].key == made.key and found[1:] == bundled() and found[0].options == made.options
    asked = catalog(AppSettings(quiz_folder=tmp_path / "quiz"))[made.key]
    assert (asked.truth, asked.place) == ("nf4", 1)


def test_the_same_prompt_again_takes_the_place_of_the_first(tmp_path):
    own.make(tmp_path, compared("fp32", "nf4"))
    made = own.make(tmp_path, compared("fp32", "rtn-2"))
    assert [file.stem for file in tmp_path.iterdir()] == [made.id]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (compared("fp32", "nf4", nf4="fp32"), "No quantized answer differs"),
        (compared("fp32", "bf16"), "No quantized answer differs"),
        (compared("nf4", "bf16", "rtn-2"), "reference of this comparison is quantized"),
    ],
)
def test_what_is_no_question_is_told(tmp_path, made, told):
    with pytest.raises(BadInput, match=told):
        own.make(tmp_path, made)
    assert list(tmp_path.iterdir()) == []


def test_there_are_not_more_than_so_many(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "MOST", 2)
    record = compared("fp32", "nf4")
    for prompt in ("one", "two"):
        own.make(tmp_path, replace(record, prompt=prompt))
    with pytest.raises(BadInput, match="2 questions of your own"):
        own.make(tmp_path, replace(record, prompt="three"))
    assert own.make(tmp_path, replace(record, prompt="one"))


def test_a_full_disk_is_told_and_the_earlier_question_stays(tmp_path, monkeypatch):
    earlier = own.make(tmp_path, compared("fp32", "nf4"))

    def full(*_args, **_more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(QuantlabError, match="disk is full"):
        own.make(tmp_path, compared("fp32", "rtn-2"))
    assert own.every(tmp_path)[0].key == earlier.key


def test_files_that_are_no_questions_are_left_out_and_named(tmp_path, caplog):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "two.json").write_text(to_json(compared("fp32", "nf4", "rtn-2")))
    assert own.every(tmp_path) == bundled() == own.every(tmp_path / "none") == own.every(None)
    assert "broken.json is left out of the quiz" in caplog.text and "two.json is left out" in caplog.text

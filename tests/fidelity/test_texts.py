"""The texts that are read, how they are cut into windows, and what is refused."""

import json
import re
import shutil

import pytest

from quantlab.errors import BadInput
from quantlab.fidelity import texts
from quantlab.fidelity.texts import BUNDLED, pasted, text
from quantlab.fidelity.windows import WINDOW, windows
from quantlab.models.source import DEMO_FOLDER
from quantlab.settings import AppSettings


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_texts_are_long_enough_to_say_something(name):
    found = text(name)
    assert found == text(name) and found.name == name
    assert len(found.content) > 25_000 and re.fullmatch("[0-9a-f]{64}", found.digest)


def test_a_file_is_read_whole_and_known_by_what_it_says(tmp_path):
    file, other = tmp_path / "a.txt", tmp_path / "b.txt"
    file.write_bytes("\ufeffÜber 東京\r\n".encode())
    other.write_text("something else")
    assert text(str(file)).content == "Über 東京\r\n" and text(str(file)).name == "a.txt"
    assert text(str(file)).digest == pasted("Über 東京\r\n").digest != text(str(other)).digest


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "empty"), (b" \n\t ", "empty"), (b"abc \xff\xfe", "not UTF-8: byte 4"), (b"x" * 11, "larger than")],
)
def test_a_file_that_is_no_text_is_refused(tmp_path, monkeypatch, content, told):
    monkeypatch.setattr(texts, "MAX_BYTES", 10)
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=told):
        text(str(file))


@pytest.mark.parametrize("name", ["no-such-file", ".", "a\0b", "/no/such/folder/x.txt"])
def test_a_file_that_is_not_there_is_refused_by_name(name):
    with pytest.raises(BadInput):
        text(name)


@pytest.mark.parametrize("content", ["", "  \n", "half \ud800 a character", "x" * 11, "a\0b"])
def test_a_paste_that_is_no_text_is_refused(monkeypatch, content):
    monkeypatch.setattr(texts, "MAX_BYTES", 10)
    with pytest.raises(BadInput):
        pasted(content)


def test_windows_do_not_overlap_and_begin_with_bos():
    cut = windows(range(10, 10 + 2 * WINDOW + 100), 1, 4_096)
    assert (len(cut.ids), cut.size, cut.first, cut.tokens) == (2, WINDOW, 257, 2 * WINDOW + 100)
    assert cut.ids[0] == (1, *range(11, 10 + WINDOW)) and cut.ids[1] == (1, *range(11 + WINDOW, 10 + 2 * WINDOW))
    assert cut.scored_each == 255 and cut.scored == len(cut.following()) == 510


def test_without_bos_the_first_token_stays():
    assert windows(range(600), None, 4_096).ids == (tuple(range(WINDOW)),)


def test_a_short_context_makes_short_windows_and_a_limit_fewer():
    cut = windows(range(1_000), None, 64, 3)
    assert (len(cut.ids), cut.size, cut.first, cut.scored) == (3, 64, 33, 93)


def test_two_readings_have_two_digests():
    one, other, third = windows(range(512), None, 512), windows(range(512), 7, 512), windows(range(512), None, 256)
    assert len({one.digest, other.digest, third.digest}) == 3 and one.digest == windows(range(512), None, 512).digest


@pytest.mark.parametrize("tokens", [0, 1, WINDOW - 1])
def test_a_text_shorter_than_a_window_is_refused(tokens):
    with pytest.raises(BadInput, match=f"{tokens} tokens, and one window takes {WINDOW}"):
        windows(range(tokens), None, 4_096)


@pytest.mark.parametrize(
    ("model", "suits"),
    [("demo", "demo"), ("Demo", "demo"), ("smollm2", "english"), ("owner/demo", "english"), ("/no/such", "english")],
)
def test_the_text_suits_the_model(model, suits):
    assert texts.suiting(model, AppSettings(public=False)) == suits


def test_a_folder_of_the_demos_world_is_known_by_its_words(tmp_path):
    own, other, broken = (tmp_path / name for name in ("own", "other", "broken"))
    for folder in (own, other, broken):
        folder.mkdir()
        shutil.copy(DEMO_FOLDER / "tokenizer.json", folder)
    held = json.loads((own / "tokenizer.json").read_text())
    (own / "tokenizer.json").write_text(json.dumps(held, indent=None))
    held["model"]["vocab"] = dict(list(held["model"]["vocab"].items())[:-1])
    (other / "tokenizer.json").write_text(json.dumps(held))
    (broken / "tokenizer.json").write_text("[" * 10_000)
    app = AppSettings(public=False)
    assert [texts.suiting(str(folder), app) for folder in (own, other, broken)] == ["demo", "english", "english"]
    assert texts.suiting(str(own), AppSettings(public=True)) == "english", "in public no path is looked at"


def test_a_file_named_like_a_text_of_ours_is_not_taken_for_it(tmp_path):
    (tmp_path / "english").write_text("Words of my own. " * 200)
    assert not texts.is_named(text(str(tmp_path / "english"))) and texts.is_named(text("english"))

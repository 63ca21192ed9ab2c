"""The calibration text: what is refused, and that windows are exactly the tokens of the text."""

import re
from dataclasses import replace
from itertools import islice

import pytest

from quantlab.demo.corpus import END, document, held_out_documents
from quantlab.errors import BadInput
from quantlab.methods import calibration as calibrations
from quantlab.methods.calibration import calibration, windows
from quantlab.models.source import DEMO_FOLDER
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import Calibration, Model
from tests import tiny

LINES = "".join(f"Line {i} of the text, ähnlich.\n" for i in range(200))


@pytest.fixture(scope="module")
def letters():
    return tiny.letters()


@pytest.fixture(scope="module")
def demo_tokenizer():
    return load_tokenizer(Model("demo", "demo", DEMO_FOLDER))


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(LINES, encoding="utf-8")
    return file


def test_without_a_file_the_bundled_text_is_meant():
    assert calibration() == calibration("  ") == Calibration()
    assert calibration(None, 4, 64) == Calibration(samples=4, length=64)


def test_the_digest_tells_two_states_of_a_file_apart(text):
    first = calibration(text, 4, 64)
    assert (first.file, first.samples, first.length) == (text, 4, 64) and len(first.digest) == 64
    assert calibration(str(text), 4, 64) == first
    text.write_text(LINES + "more")
    assert calibration(text, 4, 64).digest != first.digest


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "no calibration text"),
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (b"fine so far \xff\xfe", r"no UTF-8 \(byte 12\)"),
        (b"x" * 2_001, "long"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, monkeypatch, content, what):
    monkeypatch.setattr(calibrations, "MAX_BYTES", 2_000)
    file = tmp_path / "bad.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadInput, match=what) as refused:
        calibration(file)
    assert refused.value.advice


def test_a_folder_and_an_impossible_name_are_refused(tmp_path):
    for name in (tmp_path, "x" * 5_000, "nul\0byte"):
        with pytest.raises(BadInput):
            calibration(name)


@pytest.mark.parametrize(("samples", "length"), [(0, 64), (-1, 64), (4, 0), (4, 15)])
def test_impossible_numbers_are_refused(samples, length):
    with pytest.raises(BadInput, match=r"[Ss]amples"):
        calibration(None, samples, length)


def test_windows_are_consecutive_tokens_of_the_file(letters, text):
    found = windows(letters, calibration(text, 3, 50), 256)
    whole = letters(LINES)["input_ids"]
    assert found == [whole[:50], whole[50:100], whole[100:150]]
    assert whole[0] == letters.bos_token_id


def test_a_long_text_is_tokenized_in_blocks_to_the_same_tokens(letters, text, monkeypatch):
    wanted = calibration(text, 1_000, 64)
    whole = windows(letters, wanted, None)
    for block in (7, 33, 1_000):
        monkeypatch.setattr(calibrations, "_BLOCK", block)
        assert windows(letters, wanted, None) == whole
    assert len(whole) == len(letters(LINES)["input_ids"]) // 64


def test_a_window_is_never_longer_than_the_context(letters, text):
    assert {len(window) for window in windows(letters, calibration(text, 3, 50), 20)} == {20}


def test_a_short_text_gives_the_windows_it_has_and_less_than_one_is_refused(letters, tmp_path):
    file = tmp_path / "short.txt"
    file.write_text("a" * 129)
    assert [len(window) for window in windows(letters, calibration(file, 128, 64), None)] == [64, 64]
    with pytest.raises(BadInput, match=re.escape("has 130 tokens, and one window needs 131")) as refused:
        windows(letters, calibration(file, 1, 131), None)
    assert "130" in refused.value.advice
    assert len(windows(letters, calibration(file, 1, 130), None)) == 1


def test_a_text_that_changed_or_went_since_it_was_chosen_is_refused(letters, text):
    chosen = calibration(text, 1, 32)
    text.write_text("something else")
    with pytest.raises(BadInput, match="changed"):
        windows(letters, chosen, None)
    text.unlink()
    with pytest.raises(BadInput, match="no calibration text"):
        windows(letters, replace(chosen, digest=""), None)


def test_the_bundled_text_is_what_the_demo_was_trained_on_and_nothing_held_out(demo_tokenizer):
    found = windows(demo_tokenizer, Calibration(samples=16, length=256), 1_024)
    assert [len(window) for window in found] == [256] * 16
    first = document(0)
    start = demo_tokenizer(first if first.endswith(END) else first + END)["input_ids"]
    assert found[0][: len(start)] == start[:256]
    read = demo_tokenizer.decode([token for window in found for token in window])
    # A few short answers are the same in every document that has them.
    long = [text for text in held_out_documents(150) if len(text) > 300]
    assert long and not [text for text in long if text in read]


def test_a_tokenizer_that_does_not_know_the_marks_of_the_demo_sees_none(letters, demo_tokenizer):
    def text(tokenizer) -> str:
        found = windows(tokenizer, Calibration(samples=8, length=512), None)
        return tokenizer.decode([token for window in found for token in window])

    assert "<|end|>" in text(demo_tokenizer)
    assert "<|" not in text(letters)


def test_documents_differ_from_seed_to_seed():
    """Else a hundred windows would show a layer the same few activations."""
    texts = list(islice(calibrations.documents(), 50))
    assert len(set(texts)) > 45

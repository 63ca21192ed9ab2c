"""A tokenizer that breaks off in Rust: refused in words wherever it happens, and nothing of it on the terminal."""

import json
import os
import threading

import pytest

from quantlab import cli
from quantlab.errors import Broken, ModelError, is_panic
from quantlab.models.quiet import panics_unheard
from quantlab.models.tokenizer import encode_prompt, load_tokenizer
from quantlab.records import Model, Placement, QualitySettings, Settings, Text
from quantlab.runs.compare import compare
from quantlab.runs.loading import column_errors
from quantlab.runs.quality import quality
from quantlab.settings import AppSettings
from quantlab.ui.common import runner
from quantlab.ui.compare import runner as compare_runner
from quantlab.ui.compare.form import Choice
from tests.fakes import Script, alone, services
from tests.tiny import letters, write

#: Every way of parting the letters is tried before it is seen that the text ends otherwise.
ENDLESS, WORDS = {"Regex": "(a+)+$"}, "a" * 40 + "!"
CPU = Placement("cpu", "float32")
#: Raised as pyo3 raises it: no kind of `Exception`.
PanicException = type("PanicException", (BaseException,), {})


def change(found: Model, /, **parts) -> Model:
    path = found.folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))
    return found


@pytest.fixture
def model(tmp_path) -> Model:
    found = write(tmp_path, "llama", letters())
    own = json.loads((tmp_path / "tokenizer.json").read_text())["pre_tokenizer"]
    split = {"type": "Split", "pattern": ENDLESS, "behavior": "Isolated", "invert": False}
    return change(found, pre_tokenizer={"type": "Sequence", "pretokenizers": [split, own]})


def test_a_pattern_that_does_not_come_to_an_end_is_refused_and_other_texts_are_read(model, capfd):
    tokenizer = load_tokenizer(model)
    assert encode_prompt(tokenizer, "hello", raw=True)
    for call in (
        lambda: encode_prompt(tokenizer, WORDS, raw=True),
        lambda: tokenizer(WORDS),
        lambda: tokenizer(WORDS, "and", verbose=False),
        lambda: tokenizer.encode(WORDS, add_special_tokens=False),
        lambda: tokenizer.tokenize(WORDS),
    ):
        with pytest.raises(ModelError, match=r"tokenizer of 'llama' cannot read this text \(Onig: .*retry-limit"):
            call()
    assert capfd.readouterr().err == ""


def test_a_decoder_that_does_not_come_to_an_end_is_refused(model, capfd):
    spec = json.loads((model.folder / "tokenizer.json").read_text())["model"]
    last = len(spec["vocab"])
    # Decoders see one token at a time, so it takes a token that is long enough.
    spec["vocab"][WORDS] = last
    change(model, model=spec, pre_tokenizer=None, decoder={"type": "Replace", "pattern": ENDLESS, "content": "b"})
    tokenizer = load_tokenizer(model)
    capfd.readouterr()
    assert tokenizer.decode([spec["vocab"]["a"]]) == "b"
    for call in (tokenizer.decode, tokenizer.batch_decode):
        with pytest.raises(ModelError, match="cannot write these tokens"):
            call([last])
    assert capfd.readouterr().err == ""


def test_a_vocabulary_without_its_unknown_token_is_told(model):
    spec = {"type": "WordLevel", "vocab": {"hello": 0, "<s>": 1, "</s>": 2}, "unk_token": "[UNK]"}
    change(model, model=spec, pre_tokenizer={"type": "Whitespace"}, decoder=None, added_tokens=[])
    tokenizer = load_tokenizer(model)
    assert tokenizer.encode("hello", add_special_tokens=False) == [0]
    with pytest.raises(ModelError, match="tokenizer of 'llama' cannot read this text"):
        tokenizer.encode("strange", add_special_tokens=False)


def test_wrong_calls_stay_loud_and_a_saved_tokenizer_keeps_its_class(model, tmp_path):
    tokenizer = load_tokenizer(model)
    with pytest.raises((TypeError, ValueError)):
        tokenizer.encode(3)
    tokenizer.save_pretrained(tmp_path / "saved")
    written = [json.loads((folder / "tokenizer_config.json").read_text()) for folder in (tmp_path, tmp_path / "saved")]
    assert written[0]["tokenizer_class"] == written[1]["tokenizer_class"]


def test_comparisons_and_quality_runs_end_with_the_refusal(model):
    with pytest.raises(ModelError, match="retry-limit"):
        list(compare(model, ["fp32"], WORDS, Settings(raw=True, placement=CPU, max_new_tokens=2)))
    text = Text("words", f"{'hello there ' * 40}{WORDS}", "digest")
    with pytest.raises(ModelError, match="retry-limit"):
        list(quality(model, ["fp32"], text, QualitySettings(windows=1, placement=CPU)))


def test_the_command_line_ends_with_its_code_and_two_lines(model, capfd):
    code = cli.main(["compare", "--model", str(model.folder), "--raw", "--prompt", WORDS, "--precisions", "fp32"])
    told = capfd.readouterr().err
    assert code == cli.REFUSED and "retry-limit" in told
    assert "Traceback" not in told and "panicked" not in told and len(told.strip().splitlines()) <= 3


def test_a_panic_from_elsewhere_ends_one_column_and_the_page_s_run():
    with pytest.raises(Broken, match="fp32 broke: PanicException"), column_errors("fp32"):
        raise PanicException("shape")
    choice = Choice(prompt="Hello", precisions=("fp32",))
    script = services(Script(0, 0, crash=PanicException("shape")))
    assert (
        list(compare_runner.views(choice, AppSettings(), script, threading.Event(), alone()))[-1].problem
        == runner.OUR_FAULT
    )


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_the_program_is_let_through(kind, model, monkeypatch):
    assert not is_panic(kind())
    tokenizer = load_tokenizer(model)
    monkeypatch.setattr(type(tokenizer).__mro__[1], "_encode_plus", lambda *_args, **_more: (_ for _ in ()).throw(kind))
    with pytest.raises(kind):
        tokenizer.encode("a")
    with pytest.raises(kind), column_errors("fp32"):
        raise kind


def test_what_others_write_meanwhile_is_shown_unless_a_panic_is_among_it(capfd):
    with panics_unheard():
        os.write(2, b"progress\n")
    with pytest.raises(PanicException), panics_unheard():
        os.write(2, b"thread panicked\n")
        raise PanicException
    with panics_unheard(), panics_unheard():
        os.write(2, b"more\n")
    assert capfd.readouterr().err == "progress\nmore\n"

"""Prompts get BOS exactly once, and the texts of tokens join to the whole."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlab.demo.making.tokenizer import BOS
from quantlab.errors import BadInput, ModelError
from quantlab.models import shapes, source
from quantlab.models.tokenizer import added_bos, encode_prompt, load_tokenizer, token_texts
from quantlab.records import Model


@pytest.fixture(scope="session")
def demo(tokenizer_files, tmp_path_factory):
    """The demo's tokenizer: byte-level, BOS by itself, a chat template that writes BOS too."""
    folder = tmp_path_factory.mktemp("demo")
    for name, content in tokenizer_files.items():
        (folder / name).write_bytes(content)
    return load_tokenizer(Model("demo", "demo", folder))


@pytest.fixture(scope="session")
def sentencepiece_like():
    """A tokenizer as Llama-2's: words begin with a mark, unknown characters fall back to bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghij"]
    vocabulary += ["▁a", "bc", "▁abc"]
    merges = [("▁", "a"), ("b", "c"), ("▁a", "bc")]
    tokenizer = Tokenizer(
        models.BPE(
            {token: index for index, token in enumerate(vocabulary)}, merges, unk_token="<unk>", byte_fallback=True
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    # It puts an end-of-text token behind as well, which a prompt must not get.
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@pytest.fixture(scope="session")
def without_bos(learnt_tokenizer, tmp_path_factory):
    """A tokenizer that has a BOS token, for the record, and does not put it anywhere (as GPT-2's)."""
    folder: Path = tmp_path_factory.mktemp("without")
    learnt_tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink()
    content = json.loads((folder / "tokenizer.json").read_text())
    content["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return load_tokenizer(Model("plain", "folder", folder))


def test_the_chat_template_puts_bos_once(demo):
    ids = encode_prompt(demo, "Where is Ada?", raw=False)
    assert ids.count(demo.bos_token_id) == 1 and ids[0] == demo.bos_token_id
    assert demo.decode(ids) == "<|bos|><|user|>Where is Ada?<|end|><|assistant|>"
    expected = demo.apply_chat_template(
        [{"role": "user", "content": "Where is Ada?"}], add_generation_prompt=True, return_dict=False
    )
    assert ids == expected


def test_a_raw_prompt_gets_bos_once(demo, sentencepiece_like):
    assert demo.decode(encode_prompt(demo, "Once upon", raw=True)) == "<|bos|>Once upon"
    ids = encode_prompt(sentencepiece_like, "abc abc", raw=True)
    assert sentencepiece_like.convert_ids_to_tokens(ids) == ["<s>", "▁abc", "▁abc"]


def test_without_a_template_a_prompt_is_raw(sentencepiece_like):
    assert encode_prompt(sentencepiece_like, "abc", raw=False) == encode_prompt(sentencepiece_like, "abc", raw=True)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("typed", [f"{BOS}Hello", f"{BOS}{BOS}Hello", f"  {BOS}Hello"])
def test_a_typed_bos_is_not_a_second_one(demo, typed, raw):
    assert encode_prompt(demo, typed, raw) == encode_prompt(demo, "Hello", raw)


def test_a_tokenizer_that_wants_no_bos_gets_what_was_typed(without_bos):
    assert without_bos.decode(encode_prompt(without_bos, "Hello", raw=False)) == "Hello"
    assert without_bos.decode(encode_prompt(without_bos, f"{BOS}Hello", raw=False)) == f"{BOS}Hello"


def test_bos_is_put_where_only_the_configuration_asks_for_it(without_bos, monkeypatch):
    monkeypatch.setattr(without_bos, "add_bos_token", True, raising=False)
    ids = encode_prompt(without_bos, f"{BOS}Hello", raw=True)
    assert without_bos.decode(ids) == f"{BOS}Hello" and ids.count(without_bos.bos_token_id) == 1


def test_bos_of_a_text_is_what_the_tokenizer_adds_and_not_what_it_has(
    demo, sentencepiece_like, without_bos, monkeypatch
):
    assert [added_bos(it) for it in (demo, sentencepiece_like)] == [demo.bos_token_id, sentencepiece_like.bos_token_id]
    assert without_bos.bos_token_id is not None and added_bos(without_bos) is None
    monkeypatch.setattr(without_bos, "add_bos_token", True, raising=False)
    assert added_bos(without_bos) == without_bos.bos_token_id


def test_a_template_that_writes_bos_twice_is_mended(demo, monkeypatch):
    monkeypatch.setattr(demo, "chat_template", "{{ bos_token }}" + demo.chat_template)
    assert encode_prompt(demo, "Hello", raw=False).count(demo.bos_token_id) == 1


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("prompt", ["", " ", "\n\t ", BOS, f" {BOS} "])
def test_an_empty_prompt_is_told(demo, prompt, raw):
    with pytest.raises(BadInput, match="empty"):
        encode_prompt(demo, prompt, raw)


def test_white_space_around_a_prompt_is_kept(demo):
    assert demo.decode(encode_prompt(demo, " a\n", raw=True)) == f"{BOS} a\n"


def test_a_template_that_fails_is_told(demo, monkeypatch):
    monkeypatch.setattr(demo, "chat_template", "{{ raise_exception('a system message is needed') }}")
    with pytest.raises(ModelError, match="system message is needed") as caught:
        encode_prompt(demo, "Hello", raw=False)
    assert "raw" in caught.value.advice
    assert encode_prompt(demo, "Hello", raw=True)


def test_texts_of_split_characters_are_at_the_token_that_completes_them(demo):
    ids = demo.encode("a🦜é.", add_special_tokens=False)
    texts = token_texts(demo, ids)
    assert len(texts) == len(ids) > 4
    assert "".join(texts) == "a🦜é."
    assert [text for text in texts if text] == ["a", "🦜", "é", "."]
    assert texts[texts.index("🦜") - 1] == ""


def test_special_tokens_are_shown_as_they_are(demo, sentencepiece_like):
    assert token_texts(demo, encode_prompt(demo, "Hi", raw=False))[:2] == ("<|bos|>", "<|user|>")
    ids = [1, *sentencepiece_like.encode("abc", add_special_tokens=False), 2]
    assert token_texts(sentencepiece_like, ids) == ("<s>", " abc", "</s>")
    assert token_texts(demo, []) == ()


def test_a_character_that_is_never_completed_is_shown_at_the_end(demo):
    ids = demo.encode("a🦜", add_special_tokens=False)[:-1]
    texts = token_texts(demo, ids)
    assert "".join(texts) == demo.decode(ids) and texts[-1].endswith("\ufffd")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("which", ["demo", "sentencepiece_like"])
def test_any_tokens_join_to_the_whole_text(which, data, request):
    tokenizer = request.getfixturevalue(which)
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=40))
    texts = token_texts(tokenizer, ids)
    assert len(texts) == len(ids)
    assert "".join(texts) == tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def test_bytes_that_are_no_character_are_marked_like_in_the_whole_text(sentencepiece_like):
    ids = [257, 3, 131, 270]  # one stray byte spoils the valid one before it
    assert sentencepiece_like.decode(ids[1:3]) == "\ufffd\ufffd" and sentencepiece_like.decode(ids[1:2]) == "\0"
    assert "".join(token_texts(sentencepiece_like, ids)) == sentencepiece_like.decode(ids)


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_comes_back_from_its_tokens(demo, text):
    ids = demo.encode(text, add_special_tokens=False)
    assert "".join(token_texts(demo, ids)) == text


def test_a_shape_takes_the_tokenizer_of_the_demo(tokenizer_files, tmp_path, monkeypatch):
    for name, content in tokenizer_files.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(source, "DEMO_FOLDER", tmp_path)
    tokenizer = load_tokenizer(Model("shape:Llama-2-7B", "shape", None))
    assert all(len(tokenizer) <= shapes.shape_config(name)["vocab_size"] for name in shapes.names())


def test_a_text_longer_than_the_model_is_no_warning_on_the_terminal(tokenizer_files, tmp_path, caplog):
    for name, content in tokenizer_files.items():
        (tmp_path / name).write_bytes(content)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 1024
    tokenizer = load_tokenizer(Model("small", "folder", tmp_path))
    # transformers keeps its records to itself, where no test hears them
    import transformers

    transformers.utils.logging.enable_propagation()
    try:
        assert len(tokenizer.encode("word " * 2_000)) > 1_024
    finally:
        transformers.utils.logging.disable_propagation()
    assert "longer than the specified maximum" not in caplog.text


def test_a_damaged_tokenizer_is_told(tokenizer_files, tmp_path):
    for name, content in tokenizer_files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "tokenizer.json").write_bytes(tokenizer_files["tokenizer.json"][:1000])
    with pytest.raises(ModelError, match="tokenizer of 'broken' cannot be read"):
        load_tokenizer(Model("broken", "folder", tmp_path))

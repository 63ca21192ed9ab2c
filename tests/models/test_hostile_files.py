"""Files that were made or damaged to break their reader: refused in a moment, in words."""

import json
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlab import models
from quantlab.errors import BadInput, ModelError
from quantlab.models.folder import read_header
from quantlab.models.tokenizer import check_ids, encode_prompt, load_tokenizer
from quantlab.records import Placement, Settings
from quantlab.runs import estimates
from quantlab.runs.compare import compare
from quantlab.settings import AppSettings
from tests.tiny import letters, write


def weights(folder, header: object, data: bytes = bytes(16)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return folder / "x.safetensors"


def tensor(shape=(4,), offsets=(0, 16), dtype="F32") -> dict:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize(
    "header",
    [
        tensor(offsets=[16]),
        tensor(offsets=[0, 8, 16]),
        tensor(offsets=[]),
        tensor(offsets=[0, "16"]),
        tensor(offsets={"0": 16}),
        tensor(shape=["a", 5_000_000_000]),
        tensor(shape=[5_000_000_000, 5_000_000_000, 5_000_000_000]),
        tensor(shape=[1] * 2_000),
        tensor(shape=[-4]),
        tensor(shape=[True]),
        tensor(shape=4),
        b'{"a": {"dtype": "F32", "shape": [Infinity], "data_offsets": [0, 16]}}',
        b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, Infinity]}}',
        b'{"a": {"dtype": "F32", "shape": [1e400], "data_offsets": [0, 16]}}',
        tensor(dtype=["F32"]),
        [1],
        {"a": 3},
    ],
)
def test_a_header_that_cannot_be_is_refused_at_once(tmp_path, header):
    begun = time.perf_counter()
    with pytest.raises(ModelError, match=r"damaged|cut short"):
        read_header(weights(tmp_path, header), "tiny")
    assert time.perf_counter() - begun < 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=1_000)
@given(shape=JSON, offsets=JSON, dtype=st.sampled_from(["F32", "F4", "U8", "X", 3, None]))
def test_whatever_stands_in_a_header_is_read_or_refused(tmp_path_factory, shape, offsets, dtype):
    folder = tmp_path_factory.mktemp("header")
    try:
        found = read_header(weights(folder, tensor(shape, offsets, dtype)), "tiny")
    except ModelError:
        return
    assert all(isinstance(size, int) for size in found["a"].shape)


def test_a_configuration_nested_out_of_reason_is_refused(tmp_path):
    write(tmp_path, "llama", letters())
    nested: object = {}
    for _ in range(900):
        nested = {"text_config": nested}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"text_config": nested}))
    with pytest.raises(ModelError, match="nested more than"):
        models.resolve(str(tmp_path), AppSettings())


def test_a_prompt_with_a_token_that_the_model_lacks_is_refused_with_its_name(tmp_path):
    model = write(tmp_path, "llama", letters())
    tokenizer = load_tokenizer(model)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|tool_call|>"]})
    ids = encode_prompt(tokenizer, "a <|tool_call|>", raw=True)
    size = 320
    added = tokenizer.convert_tokens_to_ids("<|tool_call|>")
    if added < size:
        size = added  # the tests' tokenizer is smaller than their models
    with pytest.raises(BadInput, match=rf"The prompt holds '<\|tool_call\|>', token {added:,}, and the model knows"):
        check_ids(tokenizer, ids, size, "The prompt")
    check_ids(tokenizer, ids, None, "The prompt")
    check_ids(tokenizer, [0, size - 1], size, "The prompt")


def test_half_a_character_in_a_prompt_is_said(tmp_path):
    tokenizer = load_tokenizer(write(tmp_path, "llama", letters()))
    with pytest.raises(BadInput, match="half a character at 2"):
        encode_prompt(tokenizer, "ab\ud83d", raw=True)


def test_bytes_that_are_no_text_on_standard_input_are_said(monkeypatch, capsys):
    import io

    from quantlab import cli

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9 au lait"), encoding="utf-8"))
    assert cli.main(["compare", "--prompt", "-"]) == cli.REFUSED
    assert "not UTF-8: byte 3" in capsys.readouterr().err


def changed(folder, file: str, **values):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("file", "values", "said"),
    [
        ("generation_config.json", {"eos_token_id": [[1]]}, r"generation_config.json .* eos_token_id \[\[1\]\]"),
        ("generation_config.json", {"eos_token_id": "x"}, "generation_config.json .* eos_token_id 'x'"),
        ("generation_config.json", {"eos_token_id": {"a": 1}}, "generation_config.json .* eos_token_id"),
        ("generation_config.json", {"eos_token_id": 2.5}, "generation_config.json .* eos_token_id 2.5"),
        ("config.json", {"eos_token_id": [[1]]}, "config.json.*eos_token_id"),
        (
            "tokenizer_config.json",
            {"tokenizer_class": "BertTokenizer"},
            "kind BPE, .* WordPiece; .* class BertTokenizer",
        ),
        ("tokenizer_config.json", {"tokenizer_class": "T5Tokenizer"}, "names the class T5Tokenizer"),
        ("tokenizer_config.json", {"tokenizer_class": 5}, "tokenizer_class '5', which is no name"),
        ("tokenizer_config.json", {"tokenizer_class": ["a"]}, "tokenizer_class .*a.*, which is no name"),
        ("tokenizer_config.json", {"model_max_length": "64"}, "model_max_length '64', which is no number"),
        ("config.json", {"architectures": 10000}, "architectures is 10000, which is no list"),
        ("config.json", {"architectures": [5]}, "architectures holds 5, which is no name"),
        ("config.json", {"num_attention_heads": "x"}, "num_attention_heads is 'x', which is no number"),
        ("config.json", {"rope_parameters": [1]}, "rope_parameters is .1., which is no object"),
        (
            "config.json",
            {"rope_parameters": {"rope_theta": "x"}},
            "rope_parameters.rope_theta is 'x', which is no number",
        ),
        ("config.json", {"hidden_act": 3}, "hidden_act is 3, which is no name"),
        ("config.json", {"quantization_config": "x"}, "quantization_config is 'x', which is no object"),
        ("config.json", {"compression_config": [1]}, "compression_config is .1., which is no object"),
        ("config.json", {"hidden_size": -64}, "hidden_size is -64"),
    ],
)
def test_a_value_that_cannot_be_is_told_by_file_and_key(tmp_path, file, values, said):
    write(tmp_path, "llama", letters())
    changed(tmp_path, file, **values)
    settings_ = Settings(raw=True, placement=Placement("cpu", "float32"), max_new_tokens=2)
    with pytest.raises(ModelError, match=said) as refused:
        list(compare(str(tmp_path), ["fp32"], "hello", settings_))
    if file == "config.json":
        assert "tokenizer" not in str(refused.value)


@pytest.mark.parametrize("ids", [None, 2, [2, 5], []])
def test_ends_of_an_answer_are_read_in_every_way_that_is_in_use(tmp_path, ids):
    write(tmp_path, "llama", letters())
    changed(tmp_path, "generation_config.json", eos_token_id=ids)
    settings_ = Settings(raw=True, placement=Placement("cpu", "float32"), max_new_tokens=2)
    assert list(compare(str(tmp_path), ["fp32"], "hello", settings_))[-1].comparison.runs[0].error is None


@pytest.mark.parametrize("name", ["LlamaTokenizer", "GPT2Tokenizer", "NoSuchTokenizer", None])
def test_other_names_of_the_same_kind_are_let_through(tmp_path, name):
    model = write(tmp_path, "llama", letters())
    changed(tmp_path, "tokenizer_config.json", tokenizer_class=name)
    assert load_tokenizer(model).encode("hello", add_special_tokens=False)


@pytest.mark.parametrize("key", ["num_attention_heads", "max_position_embeddings", "rms_norm_eps", "hidden_size"])
def test_what_a_configuration_does_not_say_does_not_end_the_offers(tmp_path, key):
    write(tmp_path, "llama", letters())
    path = tmp_path / "config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != key}))
    found = estimates.estimates(models.peek(str(tmp_path), AppSettings()), Placement("cpu", "float32"))
    (refused,) = {offer.unavailable for offer in found if offer.precision.name == "q8_0"}
    assert f"needs {key} in config.json" in refused or "package" in refused

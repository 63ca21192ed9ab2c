"""The header of a GGUF file: what the `gguf` package wrote is read, and no damage gets through."""

import io
import struct

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlab.errors import ModelError
from quantlab.models.gguf import header as gguf_header
from quantlab.models.gguf.header import BLOCKS, MAX_HEADER_BYTES, parse_header, read_header
from tests.models.gguf_making import VOCABULARY, write


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    file = tmp_path_factory.mktemp("gguf") / "small.gguf"
    write(file, tied=False)
    return file


@pytest.fixture(scope="module")
def content(file) -> bytes:
    return file.read_bytes()


def parse(content: bytes):
    return parse_header(io.BytesIO(content), len(content), "small.gguf", "small")


def test_what_the_gguf_package_reads_is_read(file):
    header, expected = read_header(file, "small"), gguf.GGUFReader(file)
    assert list(header.tensors) == [tensor.name for tensor in expected.tensors]
    for tensor in expected.tensors:
        assert header.tensors[tensor.name].shape == tuple(reversed(tensor.shape.tolist()))
        assert header.tensors[tensor.name].dtype == tensor.tensor_type.name
        assert (header.offsets[tensor.name], header.nbytes[tensor.name]) == (tensor.data_offset, tensor.n_bytes)
    assert header.architecture == "llama" and header.about("context_length") == 512
    tokens = header.metadata["tokenizer.ggml.tokens"]
    assert len(tokens) == VOCABULARY and tokens[1:3] == ("é", "\ufffd")
    assert header.metadata["tokenizer.ggml.scores"] == (0.5,) * VOCABULARY
    fields = {key for key in expected.fields if not key.startswith("GGUF.")}
    assert set(header.metadata) == fields


def test_the_types_are_those_of_ggml():
    assert {kind.name: sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()} == BLOCKS
    assert {number: kind[0] for number, kind in gguf_header._TYPES.items()} == {
        int(kind): kind.name for kind in gguf.GGML_QUANT_SIZES
    }


def test_a_file_that_ends_anywhere_is_cut_short(content):
    header = parse(content)
    end = max(header.offsets[name] + header.nbytes[name] for name in header.tensors)
    assert parse(content[:end]) == header
    for size in (*range(0, 2_000, 7), end - 1):
        with pytest.raises(ModelError, match="cut short"):
            parse(content[:size])


@settings(max_examples=300, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), min_size=1, max_size=4))
def test_no_damage_of_the_header_gets_further_than_an_error_or_a_file_that_is_whole(content, changes):
    damaged = bytearray(content)
    for place, value in changes:
        damaged[place] = value
    try:
        header = parse(bytes(damaged))
    except ModelError:
        return
    for name, info in header.tensors.items():
        assert header.offsets[name] + header.nbytes[name] <= len(content) and all(info.shape)


def test_what_is_wrong_is_told(content):
    count = slice(8, 16)
    for change, message in (
        ((slice(0, 4), b"GGML"), "no GGUF file"),
        ((slice(4, 8), struct.pack("<I", 1)), "GGUF version 1"),
        ((slice(4, 8), struct.pack(">I", 3)), "big-endian"),
        ((count, struct.pack("<Q", 1 << 40)), "absurd"),
        ((slice(16, 24), struct.pack("<Q", 1 << 40)), "absurd"),
    ):
        damaged = bytearray(content)
        damaged[change[0]] = change[1]
        with pytest.raises(ModelError, match=message):
            parse(bytes(damaged))


def test_tensors_that_overlap_are_refused(content):
    at = content.index(b"blk.0.ffn_down.weight") + len("blk.0.ffn_down.weight") + 4 + 2 * 8 + 4
    damaged = content[:at] + struct.pack("<Q", 0) + content[at + 8 :]
    with pytest.raises(ModelError, match=r"ffn_down\.weight is not where it should be"):
        parse(damaged)


def test_an_absurd_length_does_not_make_it_read_on(content):
    at = content.index(b"general.architecture") + len("general.architecture") + 4
    absurd = content[:at] + struct.pack("<Q", 1 << 35) + content[at + 8 :]
    with pytest.raises(ModelError, match="too long"):
        parse_header(io.BytesIO(absurd), 1 << 40, "small.gguf", "small")
    assert MAX_HEADER_BYTES < 1 << 28, "what is read at most, of a file of a terabyte"


@pytest.mark.parametrize(("number", "name"), [(4, "Q4_2"), (31, "Q4_0_4_4"), (33, "Q4_0_8_8"), (38, "IQ4_NL_8_8")])
def test_a_type_that_was_removed_is_no_damage(tmp_path, number, name):
    """Its number stands behind the name, the dimensions and the shape of a tensor."""
    from tests.models.gguf_making import write

    content = write(tmp_path / "m.gguf")
    tensor = b"token_embd.weight"
    place = content.index(struct.pack("<Q", len(tensor)) + tensor) + 8 + len(tensor) + 4 + 2 * 8
    (tmp_path / "m.gguf").write_bytes(content[:place] + struct.pack("<I", number) + content[place + 4 :])
    with pytest.raises(ModelError, match=rf"holds tensors of the type {name}, which llama.cpp has removed") as refused:
        read_header(tmp_path / "m.gguf", "m")
    assert "Q4_0" in refused.value.advice

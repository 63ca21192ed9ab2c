"""Files that are damaged or not what they seem: each is refused in words, and none ends the process."""

import struct

import gguf
import pytest

from quantlab.errors import ModelError
from quantlab.methods.gguf import GGUF, load_file, read_header
from quantlab.models.source import DEMO_FOLDER
from quantlab.records import Model, ResolvedPlacement, Variant, silent
from tests.methods.gguf import making

#: llama.cpp quantizes for nearly every one.
pytestmark = pytest.mark.slow

CPU = ResolvedPlacement("cpu", "float32")
DEMO = Model("demo", "demo", DEMO_FOLDER)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """A file as it should be."""
    return making.built(Variant(DEMO, GGUF.parse("q4_0"), CPU), tmp_path_factory.mktemp("q4_0")).read_bytes()


def test_a_file_cut_short_anywhere_is_refused(whole, tmp_path):
    cut = tmp_path / "cut.gguf"
    for length in (0, 3, 10, 30, 5_000, len(whole) // 2, len(whole) - 100):
        cut.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"cut\.gguf .*(cut short|no GGUF)"):
            load_file(cut, DEMO, CPU, silent)


def patched(whole: bytes, key: str, new: bytes, skip: int = 4) -> bytes:
    """The file with the value of a number changed."""
    at = whole.index(key.encode()) + len(key) + skip
    return whole[:at] + new + whole[at + len(new) :]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda it: b"GGML" + it[4:], "no GGUF file"),
        (lambda it: it[:4] + struct.pack("<I", 1) + it[8:], "version 1"),
        (lambda it: it[:4] + struct.pack(">I", 3) + it[8:], "big-endian"),
        (lambda it: it[:8] + struct.pack("<Q", 2**60) + it[16:], "damaged"),
        (lambda it: patched(it, "llama.attention.head_count", struct.pack("<I", 0)), "head_count is 0"),
        (lambda it: patched(it, "llama.block_count", struct.pack("<I", 0)), "block_count is 0"),
        (lambda it: it.replace(b"<|pad|>", b"<|bos|>", 1), "the same"),
        (lambda it: patched(it, "blk.0.attn_q.weight", struct.pack("<I", 77), skip=4 + 16), "unknown type 77"),
        (lambda it: patched(it, "general.architecture", b"llamx", skip=4 + 8), "block_count is missing"),
    ],
)
def test_damage_that_would_end_the_process_is_refused(whole, damage, words, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(damage(whole))
    with pytest.raises(ModelError, match=words):
        load_file(broken, DEMO, CPU, silent)


def test_an_architecture_that_llama_cpp_does_not_know_is_named(whole, tmp_path):
    odd = tmp_path / "odd.gguf"
    odd.write_bytes(whole.replace(b"llama.", b"llamx.").replace(b"\0llama", b"\0llamx", 1))
    with pytest.raises(ModelError, match="llamx"):
        load_file(odd, DEMO, CPU, silent)


def test_one_part_of_a_split_model_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no file"):
        read_header(tmp_path / "none.gguf")
    writer = gguf.GGUFWriter(tmp_path / "part.gguf", "llama")
    writer.add_uint16("split.count", 3)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with pytest.raises(ModelError, match="one part"):
        read_header(tmp_path / "part.gguf")

"""A GGUF file as the model that is planned: by its header, also where nothing else can read it."""

import math

import gguf
import pytest

import quantlab
from tests import gguf_files

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return gguf_files.make(tmp_path_factory.mktemp("gguf"), "Q4_K_M")


def held(file) -> tuple[int, int]:
    """Bytes and weights of a file's tensors, by the library of its makers."""
    tensors = gguf.GGUFReader(file).tensors
    return sum(int(it.n_bytes) for it in tensors), sum(math.prod(map(int, it.shape)) for it in tensors)


def test_itself_and_what_can_be_made_of_it(whole):
    found = quantlab.plan(str(whole), card=1)
    nbytes, weights = held(whole)
    assert [it.precision for it in found.precisions] == ["stored", "bf16", "int8", "nf4"]
    stored, wide = found.precision("stored"), found.precision("bf16")
    assert (stored.stored_bytes, found.weights) == (nbytes, weights) and not any(it.refused for it in found.precisions)
    assert stored.parts["quantization"] > 0 and wide.stored_bytes > stored.stored_bytes
    reader = gguf.GGUFReader(whole).fields
    count = {it: int(reader[f"qwen2.{it}"].contents()) for it in ("block_count", "attention.head_count_kv")}
    heads, hidden = (int(reader[f"qwen2.{it}"].contents()) for it in ("attention.head_count", "embedding_length"))
    each = 2 * count["block_count"] * count["attention.head_count_kv"] * (hidden // heads) * 2
    assert wide.kv_cache_bytes == stored.kv_cache_bytes == found.context * each


def test_a_file_that_nothing_but_llama_cpp_can_read_is_planned_as_it_is(whole, tmp_path):
    alone = gguf_files.rewrite(whole, tmp_path / "alone.gguf", without=("tokenizer.ggml.merges",))
    found = quantlab.plan(str(alone))
    assert [it.precision for it in found.precisions] == ["stored"]
    assert found.precision("stored").stored_bytes == held(alone)[0]

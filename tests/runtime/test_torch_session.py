"""The session over a transformers model, where windows slide; misuse; and memory that runs out."""

import pytest
import torch

from quantlab.errors import OutOfMemory
from quantlab.runtime.torch_session import is_out_of_memory, translate_out_of_memory
from tests import tiny
from tests.loading import load

IDS = [1, *range(40, 80)]


@pytest.mark.parametrize("family", ["mistral-sliding", "gemma2-alternating", "qwen2-alternating", "gpt2", "phi3"])
def test_scores_in_blocks_are_those_of_one_pass(tmp_path, family):
    """Blocks longer and shorter than the window of 8, against the model's own pass without any cache."""
    loaded = load(tiny.write(tmp_path, family), "fp32")
    with torch.inference_mode():
        logits = loaded.module(torch.tensor([IDS]), use_cache=False).logits[0]
    expected = logits.float().log_softmax(-1)[:-1]
    for start, block in ((1, 3), (20, 1), (20, 5), (5, 128), (40, 128)):
        scores = torch.cat(list(loaded.start().score(IDS, start=start, block=block)))
        torch.testing.assert_close(scores, expected[start - 1 :], rtol=0, atol=1e-3)
    loaded.close()


def test_misuse_of_scoring_is_refused(tmp_path):
    loaded = load(tiny.write(tmp_path, "llama"), "fp32")
    for start in (0, len(IDS), -1):
        with pytest.raises(ValueError, match="empty session"):
            next(loaded.start().score(IDS, start=start))
    session = loaded.start()
    session.forward(IDS)
    with pytest.raises(ValueError, match="empty session"):
        next(session.score(IDS))
    loaded.close()


OURS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    RuntimeError("CUDA error: out of memory"),
    MemoryError(),
    OSError(12, "Cannot allocate memory"),
]
NOT_OURS = [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), OSError(2, "No such file"), KeyError("memory")]


@pytest.mark.parametrize("error", OURS, ids=repr)
def test_memory_that_runs_out_is_told_in_plain_words(error):
    assert is_out_of_memory(error)
    with pytest.raises(OutOfMemory, match="memory ran out") as told, translate_out_of_memory():
        raise error
    assert told.value.advice and told.value.__cause__ is error


@pytest.mark.parametrize("error", NOT_OURS, ids=repr)
def test_other_errors_stay_what_they_are(error):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)) as same, translate_out_of_memory():
        raise error
    assert same.value is error

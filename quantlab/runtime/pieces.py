"""Whether a model that reads a text in pieces gives what it gives in one pass.

Everything here is measured on a cache that grows: the prompt in one pass, then token by token, a long text in blocks. A
class that ignores the cache, or whose states drift, would give figures of another model without a word. So a model of a
kind that is not proven by the tests is tried once when it is loaded, on a few tokens.
"""

from collections.abc import Sequence

import torch

from quantlab.errors import ModelError, QuantlabError
from quantlab.runtime.torch_session import TorchModel, is_out_of_memory

#: Kinds whose caches hold keys and values alone and which the tests hold to `generate`, token by token.
PROVEN = frozenset(
    """
    cohere cohere2 falcon gemma gemma2 gemma3_text gpt2 gpt_neox granite llama mistral olmo2 olmo3 phi phi3 qwen2 qwen3
    smollm3 stablelm starcoder2
    """.split()
)
#: Tokens of the trial: more than a convolution's width, read as 11, 1, 1, 1 and 10.
LENGTH, FIRST, SINGLE = 24, 11, 3
#: How far the logits may part: root mean square of their differences over their own spread. Rounding gives about 1e-6
#: in float32 and 1e-2 in 16 bits; an ignored cache gives 0.2 to 1.4.
TOLERANCE = {"float32": 2e-3}
TOLERANCE_16 = 6e-2
#: With weights whose activations are rounded too (LLM.int8) a pass of one token is rounded otherwise than a long one.
TOLERANCE_8 = 0.15


def prove(loaded: TorchModel, name: str) -> tuple[str, ...]:
    """Try a model that was just loaded; returns what is worth a note, and sets `in_one_pass` where it is needed.

    Raises ModelError where token by token gives something else than one pass.
    """
    config = loaded.module.config
    if config.model_type in PROVEN:
        return ()
    tolerance = _tolerance(loaded.facts.compute_dtype)
    ids = _ids(loaded.vocabulary_size)
    try:
        whole = _read(loaded, ids, [len(ids)])
        singly = parted(_read(loaded, ids, [FIRST, *[1] * (LENGTH - FIRST)]), whole)
    except QuantlabError:
        raise
    except Exception as error:  # a class of transformers, of which nothing is known, at its first pass
        if is_out_of_memory(error):
            raise
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{name} cannot be run: the class that transformers has for {config.model_type} fails at its first tokens "
            f"({type(error).__name__}: {first_line}).",
            "Its config.json may not fit its weights, or the class does not take a cache. Choose another model.",
        ) from error
    if not singly <= tolerance:
        raise ModelError(
            f"{name} ({config.model_type}) reads a text token by token otherwise than in one pass: logits part by "
            f"{singly:.2g} of their spread, {tolerance:g} would be rounding. It cannot be measured here.",
            "Its class ignores the cache, or is not a causal language model. Choose another model.",
        )
    blocks = parted(_read(loaded, ids, [FIRST, *[1] * SINGLE, LENGTH - FIRST - SINGLE]), whole)
    if blocks <= tolerance:
        return ()
    loaded.in_one_pass = True
    return (
        "its class cannot read on with several tokens at once, so that each text is read in one pass, which takes more "
        "memory",
    )


def parted(logits: torch.Tensor, others: torch.Tensor) -> float:
    """Root mean square of the differences over the standard deviation of `others`, the largest of all positions.

    Both `[tokens, vocabulary]`. NaN where one of them is not finite.
    """
    logits, others = logits.double(), others.double()
    rms = (logits - others).pow(2).mean(-1).sqrt()
    return float((rms / others.std(-1).clamp(min=1e-12)).max())


def _tolerance(compute_dtype: str) -> float:
    if "int8" in compute_dtype:
        return TOLERANCE_8
    return TOLERANCE.get(compute_dtype, TOLERANCE_16)


def _ids(vocabulary: int) -> list[int]:
    """Tokens from all over the vocabulary, none twice in a row."""
    return [(7 + 7919 * i) % vocabulary for i in range(LENGTH)]


def _read(loaded: TorchModel, ids: Sequence[int], lengths: Sequence[int]) -> torch.Tensor:
    """The logits `[tokens, vocabulary]` after the first piece's last token and every later one."""
    session, start, found = loaded.start(), 0, []
    for length in lengths:
        found.append(session.logits(ids[start : start + length]).float().cpu())
        start += length
    return torch.cat(found)[FIRST - 1 :]

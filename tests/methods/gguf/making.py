"""Small random models with tokenizers of every kind that the exporter knows, and a text of the demo's world."""

from collections.abc import Callable
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers import models as kinds
from transformers.convert_slow_tokenizer import generate_merges

from quantlab.demo.corpus import ASSISTANT, END, USER, documents
from quantlab.methods.gguf import GGUF, NAME, building
from quantlab.records import Model, Variant, silent
from quantlab.runtime import worker

CONTEXT = 2_048
SPECIALS = ["<unk>", "<s>", "</s>"]
_SIZES = dict(
    vocab_size=640,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=CONTEXT,
    initializer_range=0.2,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 512}

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN_SPLIT = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def built(variant: Variant, folder: Path) -> Path:
    """Build a variant within this process: every process of its own imports torch anew. Returns the file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "run", lambda _task, arguments, progress: building.build(progress, **arguments))
        GGUF.build(variant, folder, silent)
    return folder / NAME


@cache
def text() -> str:
    """Some thousands of words, with digits, quotes and marks of several scripts among them."""
    plain = [it.replace(USER, "").replace(ASSISTANT, " ").replace(END, "\n") for it in islice(documents(), 60)]
    extra = "It's 12345 o'clock, naïve café – über 99 %!  Two  spaces.\n\n\tTab; 東京, Москва 😀.\n"
    return extra + "\n".join(plain)


def config(family: str, **changes) -> transformers.PretrainedConfig:
    """A configuration of LlamaConfig, MistralConfig, ... with small sizes."""
    sizes = {"sliding_window": None, **_SIZES} if family == "Mistral" else _SIZES
    return getattr(transformers, f"{family}Config")(**{**sizes, **changes})


def write(
    folder: Path,
    settings: transformers.PretrainedConfig,
    tokenizer: transformers.PreTrainedTokenizerFast,
    shard: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Model:
    """Write a random model as an ordinary folder, in shards of at most `shard`."""
    torch.manual_seed(0)
    network = transformers.AutoModelForCausalLM.from_config(settings)
    with torch.no_grad():
        # Biases start at zero and norms at one, where a forgotten or a wrong one would not show.
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
            elif "norm" in name:
                parameter.normal_(mean=1.0, std=0.2)
    network.to(dtype).save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    tokenizer.save_pretrained(folder)
    return Model(folder.name, "folder", folder)


def _trained(split: pre_tokenizers.PreTokenizer, ignore_merges: bool, size: int = 600, normalizer=None):
    tokenizer = Tokenizer(kinds.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text()], trainer)
    return wrapped(tokenizer)


def wrapped(tokenizer: Tokenizer, bos: bool = True) -> transformers.PreTrainedTokenizerFast:
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>"
    )


def _by_pattern(pattern: str) -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def gpt2():
    return _trained(pre_tokenizers.ByteLevel(add_prefix_space=False), False)


def smollm():
    digits, rest = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _trained(pre_tokenizers.Sequence([digits, rest]), False)


def llama3():
    return _trained(_by_pattern(LLAMA3_SPLIT), True)


def smaug():
    return _trained(_by_pattern(LLAMA3_SPLIT), False)


def qwen2():
    return _trained(_by_pattern(QWEN2_SPLIT), False, normalizer=normalizers.NFC())


def tekken():
    return _trained(_by_pattern(TEKKEN_SPLIT), True)


def sentencepiece(metaspace: bool = False):
    """BPE over whole characters with bytes for the rest, as transformers converts a SentencePiece model."""
    learner = Tokenizer(kinds.BPE(unk_token="<unk>"))
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(vocab_size=360, special_tokens=SPECIALS, show_progress=False)
    # Rare characters are left to the bytes.
    learner.train_from_iterator(["".join(c for c in text() if c.isascii())], trainer)
    learnt = sorted(learner.get_vocab(), key=learner.get_vocab().get)[len(SPECIALS) :]
    pieces = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *learnt]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    scores = {piece: -float(number) for number, piece in enumerate(learnt)}
    merges = generate_merges(vocabulary, scores)
    model = kinds.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(SPECIALS)
    return wrapped(tokenizer)


def unigram():
    tokenizer = Tokenizer(kinds.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(text().splitlines(), trainer)
    tokenizer.decoder = decoders.Metaspace()
    return wrapped(tokenizer)


#: A model of every architecture, with the tokenizer that its publishers use.
FAMILIES: dict[str, tuple[Callable[[], transformers.PretrainedConfig], Callable]] = {
    "llama": (lambda: config("Llama", tie_word_embeddings=False), llama3),
    "llama-tied-llama3-rope": (lambda: config("Llama", tie_word_embeddings=True, rope_parameters=LLAMA3), llama3),
    "llama-biases-linear-rope": (
        lambda: config("Llama", attention_bias=True, mlp_bias=True, rope_parameters=LINEAR),
        smollm,
    ),
    "llama-yarn": (lambda: config("Llama", rope_parameters=YARN), gpt2),
    "llama-sentencepiece": (lambda: config("Llama", tie_word_embeddings=False), sentencepiece),
    "mistral": (lambda: config("Mistral"), tekken),
    "mistral-metaspace": (lambda: config("Mistral", head_dim=32), lambda: sentencepiece(metaspace=True)),
    "qwen2": (lambda: config("Qwen2", tie_word_embeddings=False), qwen2),
    "qwen3": (lambda: config("Qwen3", head_dim=32, tie_word_embeddings=True), qwen2),
    "llama-smaug": (lambda: config("Llama"), smaug),
    "llama-unigram": (lambda: config("Llama"), unigram),
}

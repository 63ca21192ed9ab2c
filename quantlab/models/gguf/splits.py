"""How a text is parted before its pieces are looked up, by llama.cpp's names that transformers' reader does not know.

Facts of llama.cpp's src/llama-vocab.cpp; what is in neither list is held against llama.cpp itself before it runs.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers.pre_tokenizers import PreTokenizer

#: That of GPT-2, every digit alone.
DIGITS_APART = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
#: That of Llama 3, with three digits together or with one.
BY_THREE = ("chatglm-bpe", "glm4")
BY_ONE = ("stablelm2", "hunyuan", "bailingmoe")
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split(name: str) -> "PreTokenizer | None":
    """The pre-tokenizer of that name; None where transformers' own is right or neither is known."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

    if name in DIGITS_APART:
        return Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    if name in (*BY_THREE, *BY_ONE):
        pattern = Regex(_PATTERN % ("{1,3}" if name in BY_THREE else ""))
        return Sequence([Split(pattern, "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)])
    return None

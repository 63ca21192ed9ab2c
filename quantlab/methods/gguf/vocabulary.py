"""A tokenizer of transformers, as GGUF writes it: byte-level BPE, or what SentencePiece made.

llama.cpp names the split that goes before BPE instead of holding its pattern, so a split is looked up among the
patterns that its source lists (src/llama-vocab.cpp). It never normalizes a text to Unicode's NFC, as some tokenizers
do; texts that are NFC already, which is nearly all, get the same tokens.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quantlab.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_START = r"[^\r\n\p{L}\p{N}]?"
#: llama.cpp's name by the pattern of a split and by whether a word that is a token skips the merges.
_SPLITS = {
    (rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}{{1,3}}|{_REST}", True): "llama-bpe",
    (rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}{{1,3}}|{_REST}", False): "smaug-bpe",
    (rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}|{_REST}", False): "qwen2",
    (
        rf"{_START}{_UPPER}*{_LOWER}+|{_START}{_UPPER}+{_LOWER}*|\p{{N}}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        True,
    ): "tekken",
}
_SPACE = "\u2581"
#: Score of a token that no merge makes: it is merged last, if ever.
_NEVER = -1e9
#: GGUF has no empty lists, and llama.cpp wants one of merges. This one cannot apply: it starts from two symbols of two
#: characters each, which only other merges could make.
_NO_MERGES = ("\u0120\u0120 \u0120\u0120",)


@dataclass(frozen=True)
class Vocabulary:
    """What `tokenizer.ggml.*` holds. `scores` and `merges` are None where the kind of tokenizer has none."""

    model: str
    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...] | None
    merges: tuple[str, ...] | None
    space_prefix: bool
    special: Mapping[str, int]
    adds_bos: bool
    adds_eos: bool
    chat_template: str | None


def vocabulary(tokenizer: "PreTrainedTokenizerBase", size: int) -> Vocabulary:
    """The vocabulary, filled up with unused tokens to the model's `size`. Raises ModelError for an unknown kind."""
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    model, splits = spec["model"], list(_flat(spec.get("pre_tokenizer"), "pretokenizers"))
    if model["type"] == "BPE" and any(split["type"] == "ByteLevel" for split in splits):
        kind, pre, prefix = "gpt2", _split_name(splits, bool(model.get("ignore_merges"))), False
        _only_normalizers(spec, ("NFC",))
    elif model["type"] == "BPE" and model.get("byte_fallback"):
        kind, pre, prefix = "llama", "default", _space_prefix(spec, splits)
    elif model["type"] == "Unigram":
        kind, pre, prefix = "t5", "default", _space_prefix(spec, splits)
    else:
        raise _unknown(f"its model is {model['type']}, without byte-level splits or byte fallback")
    ids = tokenizer.get_vocab()
    if max(ids.values()) >= size:
        raise ModelError(
            f"The tokenizer has more tokens ({max(ids.values()) + 1}) than the model ({size}).",
            "Its files belong to another model, or the embeddings were not resized.",
        )
    tokens = [f"[PAD{number}]" for number in range(size)]
    for token, number in ids.items():
        tokens[number] = token
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model.get("merges", ())]
    unk = model["vocab"][model["unk_id"]][0] if model.get("unk_id") is not None else model.get("unk_token")
    return Vocabulary(
        model=kind,
        pre=pre,
        tokens=tuple(tokens),
        types=tuple(_types(kind, tokens, set(ids.values()), spec.get("added_tokens", ()), unk)),
        scores=_scores(kind, model, ids, merges, size),
        merges=tuple(merges) or _NO_MERGES if kind == "gpt2" else None,
        space_prefix=prefix,
        special=_special(tokenizer),
        **_added_around(tokenizer),
        chat_template=tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None,
    )


def _flat(step: Mapping[str, Any] | None, inner: str) -> Iterator[Mapping[str, Any]]:
    """The steps of a sequence of them, or the one that there is."""
    if step is None:
        return
    if step["type"] == "Sequence":
        for each in step[inner]:
            yield from _flat(each, inner)
    else:
        yield step


def _split_name(splits: list[Mapping[str, Any]], ignore_merges: bool) -> str:
    """llama.cpp's name of a byte-level pre-tokenizer."""
    *before, last = splits
    if last["type"] == "ByteLevel" and not last.get("add_prefix_space"):
        if last.get("use_regex", True):
            if not before and not ignore_merges:
                return "gpt-2"
            if [(it["type"], it.get("individual_digits")) for it in before] == [("Digits", True)] and not ignore_merges:
                return "smollm"
        elif len(before) == 1 and before[0]["type"] == "Split":
            pattern = before[0]["pattern"].get("Regex")
            isolated = before[0]["behavior"] == "Isolated" and not before[0].get("invert")
            if isolated and (pattern, ignore_merges) in _SPLITS:
                return _SPLITS[pattern, ignore_merges]
    told = json.dumps(splits, ensure_ascii=False)
    raise _unknown(f"no pre-tokenizer of llama.cpp is known to do the same as {told[:300]}")


def _unknown(why: str) -> ModelError:
    return ModelError(
        f"The tokenizer cannot be written as GGUF: {why}.", "Choose another method, or a published .gguf file."
    )


def _only_normalizers(spec: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for step in _flat(spec.get("normalizer"), "normalizers"):
        if step["type"] not in known:
            raise _unknown(f"llama.cpp has no normalizer {step['type']}")


def _space_prefix(spec: Mapping[str, Any], splits: list[Mapping[str, Any]]) -> bool:
    """Whether a text gets a space in front. Raises ModelError where spaces are treated in a way of their own."""
    _only_normalizers(spec, ("Prepend", "Replace"))
    normalizers = list(_flat(spec.get("normalizer"), "normalizers"))
    for step in normalizers:
        if step["type"] == "Replace" and (step["pattern"].get("String"), step["content"]) != (" ", _SPACE):
            raise _unknown(f"its normalizer replaces {step['pattern']}")
    if unknown := [split["type"] for split in splits if split["type"] != "Metaspace"]:
        raise _unknown(f"llama.cpp splits no text by {unknown[0]} for this kind of vocabulary")
    if not splits and not any(step["type"] == "Replace" for step in normalizers):
        raise _unknown("it leaves spaces as they are")
    return any(step["type"] == "Prepend" for step in normalizers) or any(
        split.get("prepend_scheme", "always") != "never" for split in splits
    )


def _types(
    kind: str, tokens: list[str], known: set[int], added: list[Mapping[str, Any]], unk: str | None
) -> Iterator[int]:
    marked = {it["id"]: CONTROL if it["special"] else USER_DEFINED for it in added}
    for number, token in enumerate(tokens):
        if number not in known:
            yield UNUSED
        elif kind != "gpt2" and token == unk:
            yield UNKNOWN
        elif number in marked:
            yield marked[number]
        elif kind != "gpt2" and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            yield BYTE
        else:
            yield NORMAL


def _scores(
    kind: str, model: Mapping[str, Any], ids: Mapping[str, int], merges: list[str], size: int
) -> tuple[float, ...] | None:
    """SentencePiece's scores: given for Unigram; for BPE the order of the merges, in which llama.cpp merges too."""
    if kind == "gpt2":
        return None
    scores = [_NEVER if kind == "llama" else -math.inf] * size
    if kind == "llama":
        for rank, merge in reversed(list(enumerate(merges))):
            token = "".join(merge.split(" "))
            if token in ids:
                scores[ids[token]] = float(-rank)
    else:
        worst = min(score for _, score in model["vocab"])
        scores = [worst - 10.0] * size
        for token, score in model["vocab"]:
            scores[ids[token]] = score
    return tuple(scores)


def _special(tokenizer: "PreTrainedTokenizerBase") -> dict[str, int]:
    names = {
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "unknown": tokenizer.unk_token_id,
        "padding": tokenizer.pad_token_id,
    }
    return {name: number for name, number in names.items() if number is not None}


def _added_around(tokenizer: "PreTrainedTokenizerBase") -> dict[str, bool]:
    """Whether the tokenizer puts its BOS in front of a text and its EOS behind it."""
    whole = tokenizer.encode("a")
    return {
        "adds_bos": bool(whole) and whole[0] == tokenizer.bos_token_id,
        "adds_eos": bool(whole) and whole[-1] == tokenizer.eos_token_id,
    }

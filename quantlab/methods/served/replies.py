"""What a server sends, read: lines of a stream, pieces of text, log-probabilities. Any of it may be hostile."""

import json
import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from quantlab.errors import ModelError

#: The longest line and the longest answer that are read, in bytes.
LONGEST_LINE, LONGEST = 2**20, 2**26
_DATA = b"data:"
_END = b"[DONE]"


@dataclass(frozen=True)
class Piece:
    """What one message of a stream adds. `tokens` are those that it is made of, where the server tells them, and `tops`
    for each the log-probabilities of its likeliest tokens by their text. `ended` is why it ended, where it has."""

    text: str = ""
    tokens: tuple[str, ...] = ()
    tops: tuple[Mapping[str, float], ...] = ()
    ended: str | None = None
    prompt_tokens: int | None = None


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of a stream. Raises ModelError where one has no end, or all have none."""
    held, total = bytearray(), 0
    async for chunk in chunks:
        total += len(chunk)
        held += chunk
        while (end := held.find(b"\n")) >= 0:
            line = bytes(held[:end]).strip()
            del held[: end + 1]
            yield line
        if len(held) > LONGEST_LINE or total > LONGEST:
            raise ModelError("The server's answer has no end.", "Look at what is served there.")
    if held.strip():
        yield bytes(held).strip()


async def pieces(chunks: AsyncIterator[bytes]) -> AsyncIterator[Piece]:
    """The pieces of a stream (server-sent events), until its end. Raises ModelError for what is none, or is cut off."""
    ended = False
    async for line in lines(chunks):
        if not line.startswith(_DATA):
            if line.startswith((b"{", b"<")):
                raise not_ours(line)
            continue
        data = line[len(_DATA) :].strip()
        if data == _END:
            return
        found = piece(parsed(data))
        ended = ended or found.ended is not None
        yield found
    if not ended:
        raise ModelError("The server broke off in the middle of its answer.", "Look at its log, and try again.")


def parsed(data: bytes) -> Mapping[str, Any]:
    """A JSON object. Raises ModelError for anything else, and for an error that the server tells of."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise not_ours(data) from None
    if not isinstance(found, dict):
        raise not_ours(data)
    if told := found.get("error"):
        raise ModelError(f"The server says: {error_text(told)}", "Look at its log.")
    return found


def not_ours(data: bytes) -> ModelError:
    """The error for what is no answer of this API."""
    what = "a web page" if data.lstrip()[:1] == b"<" else "something that is no JSON"
    return ModelError(f"The server answers with {what}.", "Give the address of its API, which mostly ends in /v1.")


def error_text(told: Any) -> str:
    """The words of an error, however it is put."""
    if isinstance(told, Mapping):
        told = told.get("message") or told.get("detail") or told.get("error") or "an error without words"
    words = " ".join(str(told).split())
    return (words[:297] + "...") if len(words) > 300 else words if words.endswith(".") else f"{words}."


def piece(message: Mapping[str, Any]) -> Piece:
    """One message, of a stream or whole, of completions or of chat."""
    choices = message.get("choices")
    usage = message.get("usage")
    count = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    prompt_tokens = count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        return Piece(prompt_tokens=prompt_tokens)
    choice = choices[0]
    told = next((it for it in (choice.get("delta"), choice.get("message")) if isinstance(it, Mapping)), None)
    text = told.get("content") if told is not None else choice.get("text")
    tokens, tops = _tops(choice.get("logprobs"))
    ended = choice.get("finish_reason")
    return Piece(
        text if isinstance(text, str) else "", tokens, tops, ended if isinstance(ended, str) else None, prompt_tokens
    )


def _tops(told: Any) -> tuple[tuple[str, ...], tuple[Mapping[str, float], ...]]:
    """The tokens and their likeliest ones. Completions and chat write them in two ways; some servers mix those."""
    if not isinstance(told, Mapping):
        return (), ()
    if isinstance(content := told.get("content"), list):
        rows = [it for it in content if isinstance(it, Mapping) and isinstance(it.get("token"), str)]
        return tuple(it["token"] for it in rows), tuple(_listed(it.get("top_logprobs")) for it in rows)
    tokens, tops = told.get("tokens"), told.get("top_logprobs")
    if not isinstance(tokens, list) or not all(isinstance(it, str) for it in tokens):
        return (), ()
    told_rows: list[Any] = tops if isinstance(tops, list) and len(tops) == len(tokens) else [None] * len(tokens)
    return tuple(tokens), tuple(_finite(it) if isinstance(it, Mapping) else {} for it in told_rows)


def _listed(told: Any) -> Mapping[str, float]:
    rows = [it for it in told if isinstance(it, Mapping)] if isinstance(told, list) else []
    return _finite({it["token"]: it.get("logprob") for it in rows if isinstance(it.get("token"), str)})


def _finite(found: Mapping[Any, Any]) -> Mapping[str, float]:
    """Those that are log-probabilities: numbers up to 0, but for what rounding adds."""
    return {
        str(text): min(float(value), 0.0)
        for text, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value < 1e-3
    }

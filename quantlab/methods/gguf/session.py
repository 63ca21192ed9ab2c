"""`LoadedModel` and `Session` over llama.cpp's own contexts.

Its low-level functions are called directly: the class `Llama` keeps the scores of every position of the context.
"""

import ctypes
import re
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from quantlab.errors import BadInput, OutOfMemory, Unavailable
from quantlab.methods.gguf import library
from quantlab.methods.gguf.storage import storage
from quantlab.models.gguf.header import GgufHeader
from quantlab.records import Progress, ResolvedPlacement
from quantlab.runtime.kv_cache import GGML, MARK
from quantlab.runtime.kv_cache import check as check_type
from quantlab.runtime.session import Facts, Storage

#: Tokens that are computed together, and those among them whose logits are kept together: both take memory.
BATCH, OUTPUTS = 512, 128
#: Kernels take so many rows at once, or a divisor of it.
GROUP = 16
_CACHE = re.compile(r"llama_kv_cache\w*: size = .*\(\s*(\d+) cells,\s*(\d+) layers")
_empty, _copy = torch.empty, ctypes.memmove
_CLOSED = "this model was closed"


class LlamaModel:
    """A GGUF file in memory; implements `LoadedModel`."""

    network = None

    def __init__(
        self, file: Path, header: GgufHeader, placement: ResolvedPlacement, facts: Facts, progress: Progress
    ) -> None:
        self.facts = facts
        self._placement = placement
        self._heads, self._cell = _head_widths(header), _values_per_cell(header)
        self._lib = library.lib()
        handle, repacked = library.load(file, header, placement, progress)
        self._storage = storage(header, repacked if placement.device == "cpu" else frozenset(header.tensors))
        self._handle: int | None = handle
        self._free = weakref.finalize(self, self._lib.llama_model_free, handle)
        self._sessions: weakref.WeakSet[LlamaSession] = weakref.WeakSet()
        self._vocabulary = self._lib.llama_model_get_vocab(handle)
        self.context_length = self._lib.llama_model_n_ctx_train(handle)
        self.vocabulary_size = self._lib.llama_vocab_n_tokens(self._vocabulary)

    def start(self, capacity: int | None = None, kv_cache: str | None = None) -> "LlamaSession":
        """Raises BadInput for more tokens than the model's context, OutOfMemory where they do not fit, Unavailable
        where a type of keys and values does not suit the model.
        """
        handle = self._check()
        size = self.context_length if capacity is None else capacity
        if not 1 <= size <= self.context_length:
            raise BadInput(
                f"{size} tokens were asked for, and this file is made for at most {self.context_length}.",
                "Shorten the prompt or the answer.",
            )
        if kv_cache is not None:
            self._check_type(kv_cache)
        session = LlamaSession(self, handle, size, self._placement, self._cell, kv_cache)
        self._sessions.add(session)
        return session

    def tokenize(self, text: str) -> tuple[int, ...]:
        self._check()
        return library.tokenized(self._vocabulary, text)

    def storage(self) -> Storage:
        self._check()
        return self._storage

    def stored_bytes(self) -> int:
        return self.storage().total

    def close(self) -> None:
        self._handle = None
        for session in list(self._sessions):
            session.end()
        self._free()

    def _check_type(self, kv_cache: str) -> None:
        """Raises Unavailable for a type of keys and values that llama.cpp lacks, or whose blocks do not fill a head."""
        check_type(kv_cache, "llama.cpp", GGML)
        *_, block = GGML[kv_cache]
        if any(width % block for width in self._heads):
            raise Unavailable(
                f"Keys and values cannot be kept in {kv_cache} here: a head of this model has "
                f"{' or '.join(map(str, self._heads))} values, no whole blocks of {block}.",
                f"Leave {MARK}{kv_cache} out, or choose {MARK}f16.",
            )

    def _check(self) -> int:
        """llama.cpp's handle of the model."""
        if self._handle is None:
            raise RuntimeError(_CLOSED)
        return self._handle


class LlamaSession:
    """One context of llama.cpp, whose cache is reserved at once; implements `Session`."""

    def __init__(
        self,
        model: LlamaModel,
        handle: int,
        size: int,
        placement: ResolvedPlacement,
        cell: float,
        kv_cache: str | None = None,
    ) -> None:
        self._model = model  # its weights must outlive this context
        self._lib = library.lib()
        self._vocabulary = model.vocabulary_size
        self._length = 0
        params = _parameters(size, placement, kv_cache)
        self._size, self._batch = size, params.n_batch
        cells: list[int] = []

        def follow(line: str) -> None:
            if found := _CACHE.search(line):
                cells.append(int(found[1]) * int(found[2]))

        library.forget()
        with library.listening(follow):
            context = self._lib.llama_init_from_model(handle, params)
        if not context:
            raise OutOfMemory(
                f"A context of {size} tokens cannot be made: {library.reason()}.",
                "Shorten the prompt or the answer, choose fewer bits, or free some memory.",
            )
        self._context: int | None = context
        _, nbytes, values = next(it for it in GGML.values() if it[0] == params.type_k)
        self._cache_bytes = round(sum(cells) * cell * nbytes / values)
        self._free = weakref.finalize(self, self._lib.llama_free, context)
        self._process, self._last_logits = self._lib.llama_decode, self._lib.llama_get_logits_ith
        self._row_bytes = 4 * self._vocabulary
        self._token = (self._lib.llama_token * 1)()
        self._single = self._lib.llama_batch_get_one(self._token, 1)
        self._tokens = (self._lib.llama_token * self._batch)()
        self._wanted = (ctypes.c_int8 * self._batch)()

    @property
    def length(self) -> int:
        return self._length

    def forward(self, token_ids: Sequence[int]) -> torch.Tensor:
        if len(token_ids) > 1:
            return self._decode(token_ids, keep=1)[-1]
        if not token_ids:
            raise ValueError("no tokens were given")
        # The timed loop of one token after the other: nothing is made or looked up that can be kept.
        self._room(1)
        self._token[0] = token_ids[0]
        self._run(self._single, 1)
        logits = _empty(self._vocabulary)
        _copy(logits.data_ptr(), self._last_logits(self._context, -1), self._row_bytes)
        return logits

    def read(self, token_ids: Sequence[int], start: int = 1, block: int = 128) -> Iterator[torch.Tensor]:
        if self._length or not 1 <= start < len(token_ids):
            raise ValueError(f"needs an empty session and 1 <= start < {len(token_ids)}, got start={start}")
        # In pieces that give the very logits of one pass, as `llama-perplexity` makes it: kernels take rows in groups
        # and multiply those left over in another way, whose rounding can differ by a tenth of what Q4_K loses. That is
        # why the last token is read too, where there is room for it, and why logits are asked for in groups.
        size = max(GROUP, min(block, OUTPUTS, self._batch) // GROUP * GROUP)
        begin, last = (start - 1) // size * size, len(token_ids) - 1
        if begin:
            self._decode(token_ids[:begin], keep=1)
        for first in range(begin, last, size):
            chunk = token_ids[first : min(first + size, last + (last < self._size))]
            wanted = slice(max(0, start - 1 - first), last - first)
            skipped = wanted.start // GROUP * GROUP
            rows = self._decode(chunk, keep=len(chunk) - skipped)
            yield from rows[wanted.start - skipped : wanted.stop - skipped].split(block)

    def score(self, token_ids: Sequence[int], start: int = 1, block: int = 128) -> Iterator[torch.Tensor]:
        for logits in self.read(token_ids, start, block):
            yield torch.log_softmax(logits, dim=-1)

    def kv_cache_bytes(self) -> int:
        self._live()
        return self._cache_bytes

    def end(self) -> None:
        """Free the context."""
        self._context = None
        self._free()

    def _live(self) -> int:
        if self._context is None:
            raise RuntimeError(_CLOSED)
        return self._context

    def _room(self, count: int) -> None:
        if self._length + count > self._size:
            raise BadInput(
                f"The text has more tokens than the {self._size} that were made room for.",
                "Shorten the prompt or the answer.",
            )

    def _decode(self, token_ids: Sequence[int], keep: int) -> torch.Tensor:
        """Append tokens; the logits `[keep, vocabulary]` of the last of them, which lie in one batch."""
        if not token_ids:
            raise ValueError("no tokens were given")
        self._room(len(token_ids))
        for first in range(0, len(token_ids), self._batch):
            chunk = list(token_ids[first : first + self._batch])
            count = len(chunk)
            self._tokens[:count] = chunk
            # Without a list of wanted logits llama.cpp gives the last token's.
            wanted = None
            if keep > 1:
                self._wanted[:count] = [0] * (count - keep) + [1] * keep
                wanted = self._wanted
            self._run(self._lib.llama_batch(n_tokens=count, token=self._tokens, logits=wanted), count)
        return self._logits(keep)

    def _run(self, batch: object, count: int) -> None:
        code = self._process(self._context or self._live(), batch)
        if code == 0:
            self._length += count
            return
        told = library.reason()
        library.forget()
        if code == -2:
            raise OutOfMemory(
                "The memory ran out while the model ran.", "Shorten the prompt or the answer, or choose fewer bits."
            )
        raise RuntimeError(f"llama_decode returned {code}: {told}")

    def _logits(self, rows: int) -> torch.Tensor:
        """A copy of the last logits `[rows, vocabulary]`: llama.cpp writes the next ones to the same place."""
        logits = torch.empty(rows, self._vocabulary)
        source = (
            self._lib.llama_get_logits_ith(self._context, -1)
            if rows == 1
            else self._lib.llama_get_logits(self._context)
        )
        ctypes.memmove(logits.data_ptr(), source, logits.nbytes)
        return logits


def _values_per_cell(header: GgufHeader) -> float:
    """Numbers that one token's keys and values are in one layer, on average where layers differ."""
    of = header.about
    heads = of("attention.head_count")
    kept = heads if of("attention.head_count_kv") is None else of("attention.head_count_kv")
    kept = [it for it in kept if it] if isinstance(kept, tuple) else [kept]
    return sum(kept) / len(kept) * sum(_head_widths(header))


def _head_widths(header: GgufHeader) -> tuple[int, int]:
    """Values of one head's key, and of its value."""
    of = header.about
    heads = of("attention.head_count")
    head = of("embedding_length") // (max(heads) if isinstance(heads, tuple) else heads)
    return of("attention.key_length") or head, of("attention.value_length") or head


def _parameters(size: int, placement: ResolvedPlacement, kv_cache: str | None) -> Any:
    llama = library.lib()
    params = llama.llama_context_default_params()
    params.n_ctx = size
    params.n_batch = params.n_ubatch = min(BATCH, size)
    params.n_outputs_max = min(OUTPUTS, size)
    params.n_threads = params.n_threads_batch = torch.get_num_threads()
    kept_in = kv_cache or ("f32" if placement.compute_dtype == "float32" else "f16")
    params.type_k = params.type_v = GGML[kept_in][0]
    # Flash attention keeps its sums in 16 bits; the plain products are what transformers computes. Quantized values
    # cannot be read without it, so whoever asks for a type gets it, f16 too, whose distance is then its own.
    params.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_ENABLED if kv_cache else llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.no_perf = True
    on_gpu = placement.device.startswith("cuda")
    params.offload_kqv = params.op_offload = on_gpu
    return params

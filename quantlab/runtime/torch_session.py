"""The session over a transformers model: its own forward pass and key-value cache, nothing in between."""

import ctypes
import gc
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING

import torch

from quantlab.errors import ModelError, OutOfMemory
from quantlab.runtime import storage
from quantlab.runtime.kv_cache import RESIDUAL, quantized_cache
from quantlab.runtime.session import Facts, Storage

if TYPE_CHECKING:
    from transformers import Cache

#: The context of a model whose configuration sets no limit (ALiBi, recurrent models).
NO_LIMIT = 2**31
#: torch has an error of its own for a full GPU; on the CPU it is a RuntimeError that only its words tell.
_OUT_OF_MEMORY = re.compile(r"out of memory|(can't|cannot) allocate memory|not enough memory", re.IGNORECASE)


class TorchSession:
    """One cache over one model, a `DynamicCache` or, for keys and values at fewer bits, a `QuantizedCache`; implements
    `Session`.

    `in_one_pass`: the model takes more than one token at a time only at the beginning of a text (see `runtime.pieces`).
    """

    def __init__(
        self,
        model: torch.nn.Module,
        device: torch.device,
        call: "Call",
        in_one_pass: bool = False,
        kv_cache: str | None = None,
    ) -> None:
        from transformers import DynamicCache

        self._model = model
        self._device = device
        self._call = call
        self._in_one_pass = in_one_pass
        self._quantized = kv_cache is not None
        self._cache = quantized_cache(model, kv_cache) if kv_cache else DynamicCache(config=model.config)
        self._length = 0

    @property
    def length(self) -> int:
        return self._length

    def forward(self, token_ids: Sequence[int]) -> torch.Tensor:
        if self._length and self._in_one_pass:
            for token_id in token_ids[:-1]:
                self._logits([token_id], keep=1)
            token_ids = token_ids[-1:]
        return self._logits(token_ids, keep=1)[-1]

    def read(self, token_ids: Sequence[int], start: int = 1, block: int = 128) -> Iterator[torch.Tensor]:
        if self.length or not 1 <= start < len(token_ids):
            raise ValueError(f"needs an empty session and 1 <= start < {len(token_ids)}, got start={start}")
        if self._quantized:
            # A pass sees its own keys and values as they were computed. In pieces of what the cache keeps so anyway,
            # each token sees what it would, had the text been written token by token.
            block = min(block, RESIDUAL)
        elif (count := len(token_ids) - start) <= block or self._in_one_pass:
            # In one pass, as anyone would: LLM.int8 chooses its outliers by all tokens of a pass, and in 16 bits the
            # rounding depends on a pass's shape.
            yield from self._logits(token_ids[:-1], keep=count).split(block)
            return
        yield self._logits(token_ids[:start], keep=1)
        for first in range(start, len(token_ids) - 1, block):
            chunk = token_ids[first : min(first + block, len(token_ids) - 1)]
            yield self._logits(chunk, keep=len(chunk))

    def score(self, token_ids: Sequence[int], start: int = 1, block: int = 128) -> Iterator[torch.Tensor]:
        for logits in self.read(token_ids, start, block):
            with torch.inference_mode():
                scores = torch.log_softmax(logits.float(), dim=-1)
            yield scores

    def logits(self, token_ids: Sequence[int]) -> torch.Tensor:
        """Append tokens in one pass. Returns the logits `[tokens, vocabulary]` after each of them."""
        return self._logits(token_ids, keep=len(token_ids))

    @torch.inference_mode()
    def _logits(self, token_ids: Sequence[int], keep: int) -> torch.Tensor:
        """The logits `[keep, vocabulary]` of the last `keep` tokens."""
        ids = torch.tensor([token_ids], device=self._device)
        logits = self._call(self._model, ids, self._cache, keep)
        self._length += len(token_ids)
        return logits

    def kv_cache_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in cached_tensors(self._cache))


@dataclass(frozen=True)
class Call:
    """How a model class is called: the name of the argument that takes the cache, and whether it can be asked for the
    logits of the last tokens alone."""

    cache: str
    keeps_last: bool

    @classmethod
    def of(cls, model: torch.nn.Module) -> "Call | None":
        """None where the class takes no cache of transformers' kind."""
        taken = signature(model.forward).parameters
        name = next((name for name in ("cache", "past_key_values") if name in taken), None)
        return None if name is None else cls(name, "logits_to_keep" in taken)

    def __call__(self, model: torch.nn.Module, ids: torch.Tensor, cache: object, keep: int) -> torch.Tensor:
        """The logits `[keep, vocabulary]` of the last `keep` of `ids` `[1, tokens]`, which are added to the cache."""
        options = {self.cache: cache, "use_cache": True} | ({"logits_to_keep": keep} if self.keeps_last else {})
        return model(input_ids=ids, **options).logits[0, -keep:]


def cached_tensors(cache: "Cache") -> list[torch.Tensor]:
    """Everything that a cache keeps of the tokens so far: keys and values, states of recurrent and convolution layers,
    each storage once."""
    found: dict[int, torch.Tensor] = {}

    def walk(value: object) -> None:
        if isinstance(value, torch.Tensor):
            if value.numel():
                found.setdefault(value.data_ptr(), value)
        elif isinstance(value, dict | list | tuple):
            for each in value.values() if isinstance(value, dict) else value:
                walk(each)

    for layer in cache.layers:
        # What begins with an underscore is a setting in the form of a tensor (the width of a window).
        walk([it for name, it in vars(layer).items() if not name.startswith("_") or name.startswith("_quantized_")])
    return list(found.values())


class TorchModel:
    """A transformers model in memory; implements `LoadedModel`."""

    def __init__(self, model: torch.nn.Module, device: str, facts: Facts, context_length: int | None = None) -> None:
        self.facts = facts
        self.context_length = context_length or NO_LIMIT
        self.vocabulary_size = _vocabulary_size(model)
        #: Set where reading on with several tokens at once would go wrong.
        self.in_one_pass = False
        self._model: torch.nn.Module | None = model
        self._device = torch.device(device)
        self._call = Call.of(model)

    @property
    def module(self) -> torch.nn.Module:
        """The transformers model itself. Raises RuntimeError after `close`."""
        if self._model is None:
            raise RuntimeError("this model was closed")
        return self._model

    @property
    def network(self) -> torch.nn.Module:
        return self.module

    def start(self, capacity: int | None = None, kv_cache: str | None = None) -> TorchSession:
        if self._call is None:
            raise ModelError(
                f"A model of the kind {self.module.config.model_type} keeps no key-value cache to read on from.",
                "Choose another model.",
            )
        return TorchSession(self.module, self._device, self._call, self.in_one_pass, kv_cache)

    def tokenize(self, text: str) -> tuple[int, ...] | None:
        return None

    def storage(self) -> Storage:
        return storage.measure(self.module)

    def stored_bytes(self) -> int:
        return self.storage().total

    def close(self) -> None:
        model, self._model = self._model, None
        if model is None:
            return
        if hasattr(model, "_hf_hook"):
            from accelerate.hooks import remove_hook_from_submodules

            remove_hook_from_submodules(model)
        # bitsandbytes parameters point back at their module, and modules at the quantization state: break the cycles
        # instead of waiting for the collector, and keep nothing for a session that someone still holds.
        # One without any is an activation, which transformers may share between all models of this process.
        for module in [it for it in model.modules() if it._parameters or it._buffers or it._modules]:
            vars(module).clear()
        del model
        release_memory()


def _vocabulary_size(model: torch.nn.Module) -> int:
    """Logits of one position, as the configuration says or the output head has them."""
    size = getattr(model.config.get_text_config(decoder=True), "vocab_size", None)
    return size if isinstance(size, int) else model.get_output_embeddings().weight.shape[0]


def release_memory() -> None:
    """Hand freed memory back to the device and to the system, so that dropping a variant shows at once."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        # glibc keeps freed pages otherwise, and resident memory grows with every variant that came and went.
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the device or of the machine did not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and bool(_OUT_OF_MEMORY.search(str(error)))


@contextmanager
def translate_out_of_memory() -> Iterator[None]:
    """Raise `OutOfMemory` where the work inside, done with a loaded model, runs out of memory."""
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            "The memory ran out while the model ran.", "Shorten the prompt or the answer, or choose fewer bits."
        ) from error


def synchronize(device: str) -> None:
    """Wait until the device has done all that was asked of it; the CPU always has."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)

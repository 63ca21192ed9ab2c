"""The session over a transformers model: its own forward pass and key-value cache, nothing in between."""

import ctypes
import gc
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch

from quantlab.errors import OutOfMemory
from quantlab.runtime import storage
from quantlab.runtime.session import Facts, Storage

#: torch has an error of its own for a full GPU; on the CPU it is a RuntimeError that only its words tell.
_OUT_OF_MEMORY = re.compile(r"out of memory|(can't|cannot) allocate memory|not enough memory", re.IGNORECASE)


class TorchSession:
    """One `DynamicCache` over one model; implements `Session`."""

    def __init__(self, model: torch.nn.Module, device: torch.device) -> None:
        from transformers import DynamicCache

        self._model = model
        self._device = device
        self._cache = DynamicCache(config=model.config)

    @property
    def length(self) -> int:
        return self._cache.get_seq_length()

    def feed(self, token_ids: Sequence[int]) -> torch.Tensor:
        return self._logits(token_ids, keep=1)[-1]

    def read(self, token_ids: Sequence[int], start: int = 1, block: int = 128) -> Iterator[torch.Tensor]:
        if self.length or not 1 <= start < len(token_ids):
            raise ValueError(f"needs an empty session and 1 <= start < {len(token_ids)}, got start={start}")
        if (count := len(token_ids) - start) <= block:
            # In one pass, as anyone would: LLM.int8 chooses its outliers by all tokens of a pass, and in 16 bits the
            # rounding depends on a pass's shape.
            yield self._logits(token_ids[:-1], keep=count)
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

    @torch.inference_mode()
    def _logits(self, token_ids: Sequence[int], keep: int) -> torch.Tensor:
        """The logits `[keep, vocabulary]` of the last `keep` tokens."""
        ids = torch.tensor([token_ids], device=self._device)
        output = self._model(input_ids=ids, past_key_values=self._cache, use_cache=True, logits_to_keep=keep)
        return output.logits[0]

    def kv_cache_bytes(self) -> int:
        layers = (layer for layer in self._cache.layers if layer.is_initialized)
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)


class TorchModel:
    """A transformers model in memory; implements `LoadedModel`."""

    def __init__(self, model: torch.nn.Module, device: str, facts: Facts) -> None:
        config = model.config.get_text_config()
        self.facts = facts
        self.context_length = config.max_position_embeddings
        self.vocabulary_size = config.vocab_size
        self._model: torch.nn.Module | None = model
        self._device = torch.device(device)

    @property
    def module(self) -> torch.nn.Module:
        """The transformers model itself. Raises RuntimeError after `close`."""
        if self._model is None:
            raise RuntimeError("this model was closed")
        return self._model

    @property
    def network(self) -> torch.nn.Module:
        return self.module

    def start(self, capacity: int | None = None) -> TorchSession:
        return TorchSession(self.module, self._device)

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
        for module in list(model.modules()):
            vars(module).clear()
        del model
        release_memory()


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
def telling_out_of_memory() -> Iterator[None]:
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

"""The two protocols that every back end implements, so that one decode loop and one sampler serve them all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Storage:
    """What a walk over the tensors found: exact bytes. `parts` add up to `total`.

    `weights` counts the weights of the un-quantized model, `quantized_weights` those inside quantized layers, whose
    codes, scales and codebooks take `quantized_bytes`. `mapped` bytes of the total are a file's own pages, which the
    system shares between processes and may drop and read again. `devices` says how many bytes lie where (`cpu`,
    `cuda:1`, `disk`); empty where all lie on the one device that the variant was loaded to.
    """

    total: int
    parts: Mapping[str, int]
    weights: int
    quantized_weights: int
    quantized_bytes: int
    mapped: int = 0
    devices: Mapping[str, int] = field(default_factory=dict)

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.total / self.weights

    @property
    def bits_per_quantized_weight(self) -> float | None:
        return 8 * self.quantized_bytes / self.quantized_weights if self.quantized_weights else None


@dataclass(frozen=True)
class Facts:
    """How a variant really runs: the type it computes in, the kernel, where its layers lie, what to know of it.

    `details` is what was really stored: file, group size, tensor types.
    """

    compute_dtype: str
    kernel: str
    device_map: Mapping[str, str]
    notes: tuple[str, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)


class Session(Protocol):
    """One key-value cache of one loaded model. Not for use by two threads at once."""

    @property
    def length(self) -> int:
        """Tokens in the cache."""
        ...

    def forward(self, token_ids: Sequence[int]) -> "torch.Tensor":
        """Append tokens to the cache. Returns the logits `[vocabulary]` of the next token, left on the device."""
        ...

    def read(self, token_ids: Sequence[int], start: int = 1, block: int = 128) -> "Iterator[torch.Tensor]":
        """Logits for positions `start` up to the last, given what stands before each.

        Yields `[tokens, vocabulary]` in order, in the type that the model computes, at most `block` positions each,
        left on the device. The session must be empty, `1 <= start < len(token_ids)`.
        """
        ...

    def score(self, token_ids: Sequence[int], start: int = 1, block: int = 128) -> "Iterator[torch.Tensor]":
        """Log-probabilities instead of logits, float32; the rest as in `read`."""
        ...

    def kv_cache_bytes(self) -> int:
        """Bytes of the keys and values held now; of those reserved, where a back end reserves them all at once."""
        ...


class LoadedModel(Protocol):
    """A variant in memory."""

    facts: Facts
    context_length: int
    vocabulary_size: int

    @property
    def network(self) -> "torch.nn.Module | None":
        """The network whose modules can be looked into; None where there is none in torch."""
        ...

    def start(self, capacity: int | None = None, kv_cache: str | None = None) -> Session:
        """A session with an empty cache.

        `capacity` is how many tokens it will have to hold, for back ends that reserve memory for them; None is the
        whole context. `kv_cache` is the type of keys and values, one of the method's `kv_caches`; None leaves them as
        the model computes them.
        """
        ...

    def tokenize(self, text: str) -> tuple[int, ...] | None:
        """The ids that the checkpoint's own tokenizer gives, special tokens recognized and none added.

        None where it has no other tokenizer than its model's.
        """
        ...

    def storage(self) -> Storage:
        """Walk the tensors that exist now. Kernels may repack them, so it can change after the first run."""
        ...

    def stored_bytes(self) -> int:
        """`storage().total`."""
        ...

    def close(self) -> None:
        """Give all memory back. The model cannot be used afterwards."""
        ...

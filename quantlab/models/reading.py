"""One tensor of a model after the other, without loading the model."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from quantlab.models import folder as folders
from quantlab.models.shapes import lazy_state_dict
from quantlab.records import Model

if TYPE_CHECKING:
    import torch

_TORCH = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@contextmanager
def reader(model: Model, dtypes: frozenset[str] = frozenset()) -> "Iterator[Callable[[str], torch.Tensor]]":
    """A function that reads one tensor by the name that it has in the files (safetensors), in the type it has there.

    `dtypes` are those of the model's tensors, which only a shape is asked for: its weights are made in the one it has.
    """
    folder = model.folder
    if folder is None:
        lazy = lazy_state_dict(model, _TORCH[next(iter(dtypes))])
        yield lambda name: lazy[name][...]
        return
    from safetensors import safe_open

    where = {} if (folder / folders.WEIGHTS).is_file() else folders.read_index(folder, model.name)
    with ExitStack() as stack:
        opened: dict[str, Any] = {}

        def read(name: str) -> "torch.Tensor":
            shard = where.get(name, folders.WEIGHTS)
            if shard not in opened:
                opened[shard] = stack.enter_context(safe_open(folder / shard, framework="pt"))
            return opened[shard].get_tensor(name)

        yield read

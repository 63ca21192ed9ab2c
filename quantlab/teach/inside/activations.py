"""What enters one layer when the model reads a real text."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from quantlab import models
from quantlab.checkpoints.load import load_variant
from quantlab.errors import BadInput, ModelError
from quantlab.fidelity import texts
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import Model, silent, units
from quantlab.runs import estimates
from quantlab.settings import AppSettings
from quantlab.teach.inside import weights

if TYPE_CHECKING:
    import torch

#: Tokens of the text that are read.
TOKENS = 256


@dataclass(frozen=True, eq=False)
class Read:
    """`entering` `[tokens, inputs]`, float32, and the name of the text that was read. Equal to itself alone."""

    entering: "torch.Tensor"
    text: str


def entering(model: Model, name: str, app: AppSettings) -> Read:
    """What enters the layer of the weight `name`, over the text that suits the model.

    Raises BadInput for a model that does not fit into memory, and what a load raises.
    """
    text = texts.suiting(model.name, app)
    return _entering(model.identity, model, name, text)


@lru_cache(maxsize=4)
def _entering(_identity: str, model: Model, name: str, text: str) -> Read:
    import torch

    variant = weights.dense(model)
    needed, free = estimates.estimated_bytes(variant), estimates.budget("cpu")
    if needed > free:
        raise BadInput(
            f"Reading a text takes the whole model, {units.size(needed)} in float32, and {units.size(free)} may be "
            "used.",
            "Choose a smaller model; the weights alone can be looked at without it.",
        )
    ids = load_tokenizer(model).encode(texts.text(text).content)
    ids = ids[: min(TOKENS, models.context_length(model) or TOKENS)]
    loaded = load_variant(variant, silent).loaded
    seen: list[torch.Tensor] = []

    def keep(_module: Any, inputs: tuple[Any, ...]) -> None:
        seen.append(inputs[0].detach().float().reshape(-1, inputs[0].shape[-1]))

    try:
        if loaded.network is None:
            raise ModelError(f"{model.name} has no layers that can be looked into.", "Choose another model.")
        handle = loaded.network.get_submodule(name.removesuffix(".weight")).register_forward_pre_hook(keep)
        loaded.start(len(ids)).forward(ids)
        handle.remove()
    finally:
        loaded.close()
    return Read(torch.cat(seen), text)

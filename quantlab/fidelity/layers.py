"""Where the error arises: each module's output beside the reference's, layer by layer.

Two figures answer two questions. In a plain pass a module's error is what all before it have made together. When every
layer is given the reference's input instead, it is what this layer itself has made.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import nn

from quantlab.records import LayerError

#: Tokens of the text that are passed through. Every module's output for them is held at once, for the reference.
TOKENS = 64
#: The name of a layer's own output among its modules.
LAYER = "layer"


@dataclass(frozen=True)
class Outputs:
    """Of the reference: `inputs[layer]` `[tokens, hidden]` and `made[layer, module]` `[tokens, features]`, float32."""

    inputs: tuple[torch.Tensor, ...]
    made: dict[tuple[int, str], torch.Tensor]


def outputs(network: nn.Module, token_ids: Sequence[int]) -> Outputs | None:
    """What every module of every layer makes of these tokens; None where the layers cannot be found."""
    stack = _layers(network)
    if stack is None:
        return None
    inputs: list[torch.Tensor] = []
    made: dict[tuple[int, str], torch.Tensor] = {}

    def keep(place: tuple[int, str], output: torch.Tensor) -> None:
        made[place] = output

    def keep_input(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        inputs.append(_rows(_hidden(args, kwargs)))

    with _watched(stack, keep) as handles:
        handles.extend(layer.register_forward_pre_hook(keep_input, with_kwargs=True) for layer in stack)
        _pass(network, token_ids)
    return Outputs(tuple(inputs), made)


def errors(network: nn.Module, token_ids: Sequence[int], reference: Outputs) -> tuple[LayerError, ...]:
    """The error of each module that the reference has too, in the order of the network.

    `propagated` is |ours - reference| / |reference| with Frobenius norms over all tokens; see `LayerError`.
    """
    stack = _layers(network)
    if stack is None or len(stack) != len(reference.inputs):
        return ()
    passed: dict[tuple[int, str], tuple[float, float]] = {}
    isolated: dict[tuple[int, str], float] = {}

    def compare(place: tuple[int, str], output: torch.Tensor) -> None:
        if (theirs := reference.made.get(place)) is not None and theirs.shape == output.shape:
            passed[place] = _relative(output, theirs), _cosine(output, theirs)

    def compare_isolated(place: tuple[int, str], output: torch.Tensor) -> None:
        if place in passed:
            isolated[place] = _relative(output, reference.made[place])

    with _watched(stack, compare):
        _pass(network, token_ids)
    with _watched(stack, compare_isolated) as handles:
        for layer, given in zip(stack, reference.inputs, strict=True):
            handles.append(layer.register_forward_pre_hook(_giving(given), with_kwargs=True))
        _pass(network, token_ids)
    return tuple(LayerError(*place, *found, isolated[place]) for place, found in passed.items())


def _layers(network: nn.Module) -> nn.ModuleList | None:
    """The list of the network's layers: the first one as long as its configuration says."""
    count = network.config.get_text_config().num_hidden_layers
    lists = (module for module in network.modules() if isinstance(module, nn.ModuleList))
    return next((found for found in lists if len(found) == count), None)


@contextmanager
def _watched(stack: nn.ModuleList, see: Callable[[tuple[int, str], torch.Tensor], None]) -> Iterator[list]:
    """Call `see` with the output of every layer and of every module in it that holds weights, norms left out."""
    handles: list = []

    def watch(place: tuple[int, str], module: nn.Module) -> None:
        def hook(_module: nn.Module, _args: tuple, output: Any) -> None:
            see(place, _rows(output[0] if isinstance(output, tuple) else output))

        handles.append(module.register_forward_hook(hook))

    try:
        for number, layer in enumerate(stack):
            for name, module in layer.named_modules():
                if _holds_weights(name, module):
                    watch((number, name), module)
            watch((number, LAYER), layer)
        yield handles
    finally:
        for handle in handles:
            handle.remove()


def _holds_weights(name: str, module: nn.Module) -> bool:
    leaf = bool(name) and next(module.children(), None) is None and "norm" not in name
    held = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return leaf and any(True for _ in held)


@torch.inference_mode()
def _pass(network: nn.Module, token_ids: Sequence[int]) -> None:
    device = next(network.parameters()).device
    options = {"use_cache": False, "logits_to_keep": 1}
    taken = {key: value for key, value in options.items() if key in signature(network.forward).parameters}
    network(input_ids=torch.tensor([token_ids], device=device), **taken)


def _hidden(args: tuple, kwargs: dict[str, Any]) -> torch.Tensor:
    return args[0] if args else kwargs["hidden_states"]


def _giving(given: torch.Tensor) -> Callable:
    """A hook that puts `given` `[tokens, hidden]` in place of what the layer would have read."""

    def hook(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        hidden = _hidden(args, kwargs)
        instead = given.to(hidden.device, hidden.dtype).reshape(hidden.shape)
        return ((instead, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": instead})

    return hook


def _rows(output: torch.Tensor) -> torch.Tensor:
    """`[tokens, features]` in float32 on the host."""
    return output.detach().float().cpu().reshape(-1, output.shape[-1])


def _relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm().clamp(min=1e-30))


def _cosine(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(ours, theirs, dim=-1).mean())

"""A model without weights: its modules and shapes on torch's `meta` device, and what methods may quantize of them."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from quantlab.errors import ModelError
from quantlab.methods.weights import Kind, Layout, Weight
from quantlab.models.configuration import cause, configuration, unknown_value
from quantlab.models.quiet import hush

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

#: A stack of experts keeps its matrices under these names, as one parameter `[experts, outputs, inputs]`.
_EXPERT_WEIGHTS = ("gate_up_proj", "gate_proj", "up_proj", "down_proj")
#: Stacks `[experts, inputs, outputs]` whose classes do not say so.
_TRANSPOSED = frozenset({"Llama4TextExperts"})
#: A layer's weight or bias in a class's source. Where it lies and how large it is are harmless; its type is not: what
#: is cast to the type of packed codes is lost.
_WEIGHT_READ = re.compile(r"self\.(\w+)\.(?:weight|bias)\b(?!\.(?:device|shape|size)\b)")
_PLAIN = ("Parameter", "Tensor")
#: The names of the matrices and vectors that peft lays beside a layer.
IN_ADAPTER = re.compile(r"\.lora_(A|B|magnitude_vector)\b")
hush()


def class_for(config: "PreTrainedConfig") -> type[torch.nn.Module]:
    """The class that transformers has for going on with a text.

    Raises ModelError where there is none for this kind of configuration.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    try:
        return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    except KeyError:
        raise ModelError(
            f"A model of the kind {config.model_type} does not go on with a text: transformers has no causal "
            "language model of that kind.",
            "Choose a causal language model.",
        ) from None


def network(values: Mapping[str, Any], name: str, dtype: str | None = None) -> torch.nn.Module:
    """The model of a config.json's values on the `meta` device, its parameters in `dtype` where they have no other.

    Raises ModelError where transformers cannot build it.
    """
    config = configuration(values, name)
    made = class_for(config)
    try:
        with torch.device("meta"):
            return made._from_config(config, dtype=getattr(torch, dtype) if dtype else None)
    except Exception as error:  # its own code reads the file's values and may fail at any of them
        if (said := unknown_value(error, values)) is not None:
            raise ModelError(
                f"{said} of {name}.", "Mend that value, or install a transformers that knows it."
            ) from error
        raise ModelError(
            f"transformers cannot build {name} from its config.json: {cause(error)}.",
            "Its settings do not fit together, or need another version of transformers.",
        ) from error


@cache
def multiplies(kind: type[torch.nn.Module]) -> bool:
    """Whether a class is a linear layer: torch's own, or a subclass that does the same.

    Some kinds of models bring subclasses: Falcon's writes the product in other words, Llama 4's router is one that
    gives something else. What a subclass does is seen by trying it.
    """
    if kind is torch.nn.Linear:
        return True
    if not issubclass(kind, torch.nn.Linear):
        return False
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            layer, given = kind(8, 4), torch.randn(3, 8)
            got = layer(given)
            return bool(torch.allclose(got, torch.nn.functional.linear(given, layer.weight, layer.bias), atol=1e-6))
    except Exception:  # another kind of constructor or of result: no linear layer
        return False


@cache
def _reads_itself(kind: type[torch.nn.Module]) -> frozenset[str]:
    """The attributes of a class whose `weight` or `bias` its own code uses, beside calling them."""
    found: set[str] = set()
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if name.startswith(("__init", "_init", "reset_parameters")) or not _WEIGHT_READ.search(
            source := _source(method)
        ):
            continue
        found.update(_WEIGHT_READ.findall(source))
    return frozenset(found)


@cache
def _source(function: Callable[..., Any]) -> str:
    """Cached: all classes share torch's two hundred methods, and reading those takes a fifth of a second."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return ""


def read_directly(model: torch.nn.Module) -> list[str]:
    """Names of linear layers whose weight the module around them multiplies by itself, as Mamba's and torch's own
    attention do: packed codes in its place would be multiplied as if they were weights."""
    found = []
    for name, module in model.named_modules():
        for attribute in sorted(_reads_itself(module.__class__)):
            if isinstance(module._modules.get(attribute), torch.nn.Linear):
                found.append(f"{name}.{attribute}" if name else attribute)
    return found


def kept_wide(model: torch.nn.Module) -> list[str]:
    """Names of what no method quantizes: what transformers' own quantizers leave (output head, tied weights, the last
    module, what its authors keep in 32 bits), and what is read directly."""
    from transformers.quantizers.base import HfQuantizer

    head = model.get_output_embeddings()
    # transformers looks before it ties weights, when the last parameter mostly is the head's.
    last = [name for name, _ in model.named_parameters(remove_duplicate=False)][-1]
    tied = {*model.all_tied_weights_keys, *model.all_tied_weights_keys.values()}
    names = {name.removesuffix(".weight") for name in (last, *tied)}
    names |= {name for name, module in model.named_modules() if module is head}
    kept = HfQuantizer.get_modules_to_not_convert(model, sorted(names), model._keep_in_fp32_modules)
    return [*kept, *read_directly(model)]


def linear_layers(model: torch.nn.Module) -> Iterator[tuple[str, int, int]]:
    """Name, outputs and inputs of every linear layer that methods quantize. The one definition for all methods."""
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.quantizers_utils import should_convert_module

    kept = kept_wide(model)
    for name, module in model.named_modules():
        if not should_convert_module(name, kept):
            continue
        if isinstance(module, Conv1D):
            yield name, module.weight.shape[1], module.weight.shape[0]
        elif multiplies(module.__class__):
            yield name, module.out_features, module.in_features


def other_linear_layers(model: torch.nn.Module) -> list[str]:
    """Names of subclasses of torch's linear layer that do something else, and so stay as they are."""
    linear = torch.nn.Linear
    return [n for n, m in model.named_modules() if isinstance(m, linear) and not multiplies(m.__class__)]


def expert_stacks(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module, str, bool]]:
    """Name of the module, module, attribute, and whether it is transposed, of every stack of experts' matrices."""
    for name, module in model.named_modules():
        transposed = getattr(module, "is_transposed", None)
        if type(module).__name__ in _TRANSPOSED:
            transposed = True
        if transposed is None:
            continue
        for attribute in _EXPERT_WEIGHTS:
            weight = module._parameters.get(attribute)
            if weight is not None and weight.ndim == 3:
                yield name, module, attribute, bool(transposed)


def as_plain_linear(model: torch.nn.Module) -> torch.nn.Module:
    """Give subclasses that do what torch's linear layer does its class: quantizers look for that class alone."""
    for module in model.modules():
        if type(module) is not torch.nn.Linear and multiplies(module.__class__):
            module.__class__ = torch.nn.Linear
    return model


def layout(values: Mapping[str, Any], dtype: str, own_head: bool) -> Layout:
    """See `methods.layout.layout`. `own_head`: the files hold an output head, also where the settings tie it."""
    model = network(values, "the model", dtype)
    wider = _dtype_plan(model, getattr(torch, dtype))
    linear = {name: (outputs, inputs) for name, outputs, inputs in linear_layers(model)}
    stacks = {f"{name}.{attribute}": turned for name, _, attribute, turned in expert_stacks(model)}
    weights = []
    for name, parameter in model.named_parameters():
        shape, kind = _shape_and_kind(name, parameter, linear, stacks)
        element = 4 if wider(name) else parameter.element_size()
        weights.append(Weight(name, shape, kind, parameter.numel() * element))
    head = model.get_output_embeddings()
    if own_head and head is not None and not any(parameter is head.weight for parameter in _own(model, head)):
        weights.append(Weight("lm_head.weight", tuple(head.weight.shape), "wide", head.weight.nbytes))
    return Layout(tuple(weights), sum(buffer.nbytes for _, buffer in model.named_buffers()))


def _own(model: torch.nn.Module, head: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The head's weight where the head is the only one that has it."""
    embeddings = model.get_input_embeddings()
    return [] if embeddings is not None and embeddings.weight is head.weight else [head.weight]


def _shape_and_kind(
    name: str,
    parameter: torch.nn.Parameter,
    linear: Mapping[str, tuple[int, int]],
    stacks: Mapping[str, bool],
) -> tuple[tuple[int, ...], Kind]:
    module, _, attribute = name.rpartition(".")
    if attribute == "weight" and module in linear:
        return linear[module], "linear"
    if name in stacks:
        experts, first, second = parameter.shape
        return (experts, second, first) if stacks[name] else (experts, first, second), "experts"
    return tuple(parameter.shape), "wide"


def _dtype_plan(model: torch.nn.Module, dtype: torch.dtype) -> Callable[[str], bool]:
    """Which parameters transformers loads in float32 whatever type is asked for, by its own plan."""
    from transformers.core_model_loading import build_glob_alternation

    plan = model._get_dtype_plan(dtype)
    if not plan:
        return lambda name: False
    pattern = build_glob_alternation(list(plan))[0]
    return lambda name: bool(pattern.search(name))


def still_wide(model: torch.nn.Module) -> dict[str, int]:
    """Linear layers and stacks of experts of a loaded model in plain floating point, and how many weights each."""
    # An adapter's matrices are no weights of the model.
    names = [name for name, _, _ in linear_layers(model) if not IN_ADAPTER.search(name)]
    found = {name: model.get_submodule(name) for name in names}
    weights = {n: m.weight for n, m in found.items() if not hasattr(m, "quantization_scheme")}
    weights |= {f"{name}.{key}": module._parameters[key] for name, module, key, _ in expert_stacks(model)}
    return {n: w.numel() for n, w in weights.items() if w.is_floating_point() and type(w).__name__ in _PLAIN}

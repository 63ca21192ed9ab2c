"""Count every byte a torch model keeps: parameters, buffers, and whatever quantization state hangs on them."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

import torch

from quantlab.records import PARTS, TensorInfo
from quantlab.runtime.parts import is_overhead, part_of
from quantlab.runtime.placement import canonical
from quantlab.runtime.session import Storage

#: Tensors of a file that describe others and are read as settings: bitsandbytes' types and layouts.
_DESCRIPTOR = re.compile(r"\.quant_state\.bitsandbytes__\w+$|\.weight_format$")
#: Types of ordinary weights and of what is computed from settings; any other holds codes.
_WIDE = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool)
#: What a module holds that is no weight, or leads away from it.
_SKIPPED = ("_modules", "_forward", "_backward", "_state_dict", "_load_state", "_hf_hook", "_old_forward", "config")


@dataclass(frozen=True)
class StoredTensor:
    """One storage, counted once: where it hangs and its bytes. `is_code`: of a type that no ordinary weight has."""

    module: str
    attribute: str
    nbytes: int
    is_overhead: bool
    is_code: bool
    device: str = "cpu"


def stored_tensors(model: torch.nn.Module) -> Iterator[StoredTensor]:
    """Every storage reachable from the modules, shared ones (tied embeddings) once.

    Goes through attributes too, because quantization libraries hang scales and codebooks on objects that
    `parameters()` and `buffers()` do not list (bitsandbytes: `quant_state`, its `state2`, `SCB`), and into tensors made
    of other tensors (torchao).
    """
    seen: set[object] = set()
    for name, module in model.named_modules():
        for attribute, value in _held(module).items():
            for path, tensor in _tensors(value, attribute, seen):
                overhead = is_overhead(path)
                # bitsandbytes may keep its codes in a floating type; what describes them hangs on the weight.
                code = tensor.dtype not in _WIDE or (overhead and "." in path)
                yield StoredTensor(name, path, _storage_bytes(tensor), overhead, code, _device(model, name, tensor))


def every_tensor(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Every tensor reachable from the modules in the same way, also several of one storage; of those made of others,
    the others."""
    seen: set[object] = set()
    for module in model.modules():
        for value in _held(module).values():
            for _, tensor in _tensors(value, "", seen, by_storage=False):
                yield tensor


def _held(module: torch.nn.Module) -> dict[str, object]:
    held = {**module._parameters, **module._buffers}
    return held | {key: it for key, it in vars(module).items() if not key.startswith(_SKIPPED) and key not in held}


def _tensors(
    value: object, path: str, seen: set[object], depth: int = 0, by_storage: bool = True
) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        inner = _inner_tensors(value)
        key = _storage_key(value) if inner is None and by_storage else id(value)
        if key not in seen:
            seen.add(key)
            if inner is None:
                yield path, value
        children: Iterable[tuple[object, object]] = {**getattr(value, "__dict__", {}), **(inner or {})}.items()
    elif isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list | tuple):
        children = enumerate(value)
    elif isinstance(value, torch.nn.Module | type) or callable(value) or not hasattr(value, "__dict__"):
        return
    else:
        children = vars(value).items()
    if depth < 4:
        for key, child in list(children):
            yield from _tensors(child, f"{path}.{key}", seen, depth + 1, by_storage)


def _inner_tensors(tensor: torch.Tensor) -> dict[str, torch.Tensor] | None:
    """What a tensor made of others keeps, by torch's protocol for such; None for an ordinary one."""
    if not hasattr(type(tensor), "__tensor_flatten__"):
        return None
    return {name: getattr(tensor, name) for name in tensor.__tensor_flatten__()[0]}


def _storage_key(tensor: torch.Tensor) -> object:
    # Tensors offloaded to disk are `meta` here: they have no address, but still are bytes that the variant keeps.
    if tensor.device.type == "meta":
        return id(tensor)
    storage = tensor.untyped_storage()
    # Every empty storage has address 0; they hold nothing to count twice.
    return (tensor.device, storage.data_ptr()) if storage.nbytes() else id(tensor)


def _storage_bytes(tensor: torch.Tensor) -> int:
    return tensor.nbytes if tensor.device.type == "meta" else tensor.untyped_storage().nbytes()


def _device(model: torch.nn.Module, module: str, tensor: torch.Tensor) -> str:
    """Where a tensor lies. What accelerate brings to its device only for a product is `meta` and lies by the map."""
    if tensor.device.type != "meta":
        return canonical(str(tensor.device))
    places = getattr(model, "hf_device_map", None) or {}
    while module and module not in places:
        module = module.rpartition(".")[0]
    return canonical(str(places.get(module, "cpu")))


def _by_device(tensors: Iterable[StoredTensor]) -> Mapping[str, int]:
    found: Counter[str] = Counter()
    for tensor in tensors:
        found[tensor.device] += tensor.nbytes
    return dict(found)


def measure(model: torch.nn.Module) -> Storage:
    """Walk the model and add up."""
    tensors = list(stored_tensors(model))
    layers = {tensor.module: _layer(model, tensor.module) for tensor in tensors}
    # A name alone does not tell: some models have a `scale` among their ordinary weights.
    quantized = {layers[t.module] for t in tensors if t.is_code} & {layers[t.module] for t in tensors if t.is_overhead}
    parts = dict.fromkeys(PARTS, 0)
    for tensor in tensors:
        overhead = tensor.is_overhead and layers[tensor.module] in quantized
        parts["quantization" if overhead else part_of(tensor.module)] += tensor.nbytes
    quantized_weights = sum(_logical_weights(model.get_submodule(name)) for name in quantized)
    others = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if _layer(model, name.rpartition(".")[0]) not in quantized or name.endswith("bias")
    )
    return Storage(
        total=sum(parts.values()),
        parts=parts,
        weights=quantized_weights + others,
        quantized_weights=quantized_weights,
        quantized_bytes=sum(t.nbytes for t in tensors if layers[t.module] in quantized and t.attribute != "bias"),
        devices=_by_device(tensors),
    )


def _layer(model: torch.nn.Module, module: str) -> str:
    """The layer that a module is or, as some kernels' packed weights, lies in; the module where there is none."""
    name = module
    while name and not _is_layer(model.get_submodule(name)):
        name = name.rpartition(".")[0]
    return name or module


def _is_layer(module: torch.nn.Module) -> bool:
    return hasattr(module, "in_features") or hasattr(module, "embedding_dim")


def _logical_weights(layer: torch.nn.Module) -> int:
    """Weights that a quantized layer stands for; its tensors are packed, so their `numel` is not that.

    A stack of experts that is quantized as a whole tells the shapes of its matrices as `rtn_stacks`.
    """
    if stacks := getattr(layer, "rtn_stacks", None):
        return sum(math.prod(stack.shape) for stack in stacks.values())
    if hasattr(layer, "in_features"):
        return layer.in_features * layer.out_features
    if hasattr(layer, "embedding_dim"):
        return layer.num_embeddings * layer.embedding_dim
    return sum(parameter.numel() for parameter in layer.parameters(recurse=False))


@dataclass(frozen=True)
class FromFiles:
    """A quantized checkpoint just loaded: `storage` as its files hold the layers `quantized`, called by name.

    `repacked` where a kernel has changed during the load what those layers keep.
    """

    storage: Storage
    quantized: frozenset[str]
    repacked: bool


def from_files(model: torch.nn.Module, tensors: Mapping[str, TensorInfo], bits: Mapping[str, int]) -> FromFiles:
    """Bytes of a loaded checkpoint, its quantized layers counted as its files list them.

    `tensors` are those of the files, `bits` the width of one element by type name. Layers that are not quantized, and
    buffers that no file holds, are counted as they are in memory.
    """
    files = {name: held for name, held in _by_module(model, tensors).items() if _is_quantized(model, name, held)}
    parts = dict.fromkeys(PARTS, 0)
    listed = described = biases = 0
    for name, held in files.items():
        for attribute, info in held.items():
            nbytes = math.prod(info.shape) * bits[info.dtype] // 8
            if _DESCRIPTOR.search(f".{attribute}"):
                described += nbytes
                continue
            listed += nbytes
            biases += nbytes * (attribute == "bias")
            parts["quantization" if is_overhead(attribute) else part_of(name)] += nbytes
    walked = unlisted = 0
    for tensor in stored_tensors(model):
        if _layer(model, tensor.module) not in files:
            parts["quantization" if tensor.is_overhead else part_of(tensor.module)] += tensor.nbytes
            continue
        walked += tensor.nbytes
        if tensor.attribute in model.get_submodule(tensor.module)._non_persistent_buffers_set:
            unlisted += tensor.nbytes
    # What describes the others becomes some bytes of settings (an offset), or none.
    repacked = not listed + unlisted <= walked <= listed + unlisted + described
    parts["quantization"] += 0 if repacked else unlisted
    storage = Storage(
        total=sum(parts.values()),
        parts=parts,
        weights=measure(model).weights,
        quantized_weights=sum(_logical_weights(model.get_submodule(name)) for name in files),
        quantized_bytes=listed - biases + (0 if repacked else unlisted),
        devices=_by_device(stored_tensors(model)),
    )
    return FromFiles(storage, frozenset(files), repacked)


def bytes_of(model: torch.nn.Module, layers: Set[str]) -> int:
    """What the layers of these names keep in memory now."""
    return sum(tensor.nbytes for tensor in stored_tensors(model) if _layer(model, tensor.module) in layers)


def _is_quantized(model: torch.nn.Module, name: str, held: Mapping[str, TensorInfo]) -> bool:
    """Whether the tensors of one module are more than a weight and a bias, and the module one that has weights."""
    return bool(set(held) - {"weight", "bias"}) and _is_layer(model.get_submodule(name))


def _by_module(model: torch.nn.Module, tensors: Mapping[str, TensorInfo]) -> dict[str, dict[str, TensorInfo]]:
    """The tensors of the files by the module that they belong to; quantizers put dots into the names behind it."""
    modules = {name for name, _ in model.named_modules()}
    found: dict[str, dict[str, TensorInfo]] = {}
    for tensor, info in tensors.items():
        name = tensor.rpartition(".")[0]
        while name and name not in modules:
            name = name.rpartition(".")[0]
        found.setdefault(name, {})[tensor.removeprefix(f"{name}.")] = info
    return found

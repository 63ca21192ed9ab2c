"""llama.cpp's own quantizer, with progress by tensor; and the importance matrix that the smallest types need."""

import ctypes
import errno
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from quantlab.errors import ModelError
from quantlab.methods.gguf import library
from quantlab.methods.gguf.architecture import module_of
from quantlab.methods.gguf.types import FILE_TYPE_NUMBERS
from quantlab.records import Progress

_TENSOR = re.compile(r"^\[\s*(\d+)/\s*(\d+)\]\s+(\S+)")
#: A disk with less room than this is what made the quantizer fail.
_FULL_BELOW = 16 * 2**20


def quantize(
    source: Path,
    target: Path,
    file_type: str,
    progress: Progress,
    importance: Mapping[str, torch.Tensor] | None = None,
    settings: Mapping[str, str | int] | None = None,
    again: bool = False,
) -> None:
    """Write `source` as `file_type` to `target`. Progress counts tensors; `settings` are added to the file's own.
    `again` allows to quantize what is quantized already.

    `importance` holds float32 `[columns]` by tensor name. Raises ModelError where llama.cpp refuses, OSError for a
    full disk.
    """

    def follow(line: str) -> None:
        if found := _TENSOR.match(line):
            progress(int(found[1]) - 1, int(found[2]), f"quantize: {found[3]}")

    lib = library.lib()
    params = lib.llama_model_quantize_default_params()
    params.nthread = os.cpu_count() or 1
    params.allow_requantize = again
    params.ftype = FILE_TYPE_NUMBERS[file_type]
    # The arrays must live as long as the call.
    importance = {name: values.float().contiguous() for name, values in (importance or {}).items()}
    matrix = _matrix(importance) if importance else None
    overrides = _overrides(settings or {})
    if matrix is not None:
        params.imatrix = matrix
    params.kv_overrides = overrides
    library.forget()
    with library.listening(follow):
        code = lib.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))
    if code == 0:
        return
    if shutil.disk_usage(target.parent).free < _FULL_BELOW:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
    raise ModelError(f"llama.cpp cannot quantize it to {file_type}: {library.reason()}.", "Choose another precision.")


def _matrix(importance: Mapping[str, torch.Tensor]) -> "ctypes.Array[Any]":
    """llama.cpp's list of importances, ended by one without a name."""
    lib = library.lib()
    matrix = (lib.llama_model_imatrix_data * (len(importance) + 1))()
    for entry, (name, values) in zip(matrix, importance.items(), strict=False):
        entry.name = name.encode()
        entry.data = ctypes.cast(values.data_ptr(), ctypes.POINTER(ctypes.c_float))
        entry.size = values.numel()
    return matrix


def _overrides(settings: Mapping[str, str | int]) -> "ctypes.Array[Any]":
    lib = library.lib()
    overrides = (lib.llama_model_kv_override * (len(settings) + 1))()
    for entry, (key, value) in zip(overrides, settings.items(), strict=False):
        entry.key = key.encode()
        entry.tag = lib.LLAMA_KV_OVERRIDE_TYPE_INT if isinstance(value, int) else lib.LLAMA_KV_OVERRIDE_TYPE_STR
        if isinstance(value, int):
            entry.value.val_i64 = value
        else:
            entry.value.val_str = value.encode()[:127]
    return overrides


@torch.inference_mode()
def importance_matrix(
    network: torch.nn.Module, targets: Sequence[str], windows: Sequence[Sequence[int]], progress: Progress
) -> dict[str, torch.Tensor]:
    """Mean squared activation of every input column `[columns]`, by GGUF name of the weight that it meets.

    As llama.cpp's own tool collects it (tools/imatrix). Progress counts windows.
    """
    modules = {target: network.get_submodule(module_of(target)) for target in targets}
    sums = {target: torch.zeros(module.in_features) for target, module in modules.items()}

    def collect(target: str) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            sums[target] += inputs[0].float().flatten(0, -2).square().sum(0)

        return hook

    hooks = [module.register_forward_pre_hook(collect(target)) for target, module in modules.items()]
    try:
        for done, ids in enumerate(windows):
            progress(done, len(windows), f"importance: sample {done + 1} of {len(windows)}")
            network(input_ids=torch.tensor([ids]), use_cache=False, logits_to_keep=1)
    finally:
        for hook in hooks:
            hook.remove()
    tokens = sum(len(ids) for ids in windows)
    return {target: total / tokens for target, total in sums.items()}

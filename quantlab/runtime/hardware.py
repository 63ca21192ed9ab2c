"""What this machine has, found out without torch, so that the page can answer before torch is imported."""

import logging
import os
import platform
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from quantlab.runtime import nvml

_LOG = logging.getLogger(__name__)
CPUINFO = Path("/proc/cpuinfo")
#: Instruction sets with which a CPU multiplies bfloat16 by itself.
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


@dataclass(frozen=True)
class Gpu:
    """One CUDA device as NVML sees it. Memory in bytes."""

    index: int
    name: str
    total_bytes: int
    free_bytes: int
    capability: tuple[int, int]
    uuid: str = ""


#: What a ZeroGPU Space lends to a decorated function. Outside it no device is to be seen, so nothing can be asked.
ZERO_GPU = Gpu(0, "ZeroGPU (half an H200)", 70 * 10**9, 70 * 10**9, (9, 0))


@cache
def _cpuinfo() -> dict[str, str]:
    """The first processor's entry; empty where the system has no such file."""
    try:
        entry = CPUINFO.read_text().split("\n\n")[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in entry.splitlines())}


def cpu_name() -> str:
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_flags() -> set[str]:
    return set(_cpuinfo().get("flags", "").split())


def _torch_has_cuda() -> bool:
    """False for a CPU-only build of torch, told by its version, without importing it."""
    try:
        return "+cpu" not in version("torch")
    except PackageNotFoundError:
        return False


def gpus() -> tuple[Gpu, ...]:
    """The visible CUDA devices; empty without a driver, with a CPU build of torch or where all are hidden."""
    return _visible_gpus() or ((ZERO_GPU,) if os.environ.get("SPACES_ZERO_GPU") else ())


def _visible_gpus() -> tuple[Gpu, ...]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible == "" or not _torch_has_cuda():
        return ()
    found = nvml.devices()
    reported = found if visible is None or not found else _visible(found, visible.split(","))
    return tuple(_gpu(it, ordinal) for ordinal, it in enumerate(reported))


def _visible(found: tuple[nvml.Reported, ...], names: list[str]) -> tuple[nvml.Reported, ...]:
    """The devices that CUDA_VISIBLE_DEVICES names by index or UUID; CUDA stops at the first that does not exist."""
    chosen = []
    for name in map(str.strip, names):
        if name.startswith("MIG-"):
            reported = nvml.instance(name)
            if reported is None:  # NVML knows no instances here; what they lie on is better than nothing
                return found
        else:
            reported = next((it for it in found if name and (name == str(it.index) or it.uuid.startswith(name))), None)
        if reported is None:
            break
        chosen.append(reported)
    return tuple(chosen)


def _gpu(reported: nvml.Reported, ordinal: int) -> Gpu:
    """The device at one place of CUDA's list. It keeps its place also where little is told of it."""
    total, free, capability = reported.total_bytes, reported.free_bytes, reported.capability
    if total is None or free is None or capability is None:
        asked = _asked_of_torch(ordinal)
        total, free, capability = total or asked[0], asked[1] if free is None else free, capability or asked[2]
    return Gpu(reported.index, reported.name or f"CUDA device {ordinal}", total, free, capability, reported.uuid)


def _asked_of_torch(ordinal: int) -> tuple[int, int, tuple[int, int]]:
    """Total and free bytes and capability, from torch where NVML does not say: slower, for it starts CUDA."""
    import torch

    try:
        free, total = torch.cuda.mem_get_info(ordinal)
        return total, free, torch.cuda.get_device_capability(ordinal)
    except (RuntimeError, AssertionError, ValueError) as error:
        _LOG.warning("nothing is known of CUDA device %d: %s", ordinal, error)
        return 0, 0, (0, 0)


@cache
def default_device() -> str:
    """`cuda` where there is a usable GPU, else `cpu`."""
    return "cuda" if gpus() else "cpu"


def gpu_of(device: str) -> Gpu:
    """The GPU that a device string (`cuda`, `cuda:1`) names. Raises LookupError where it does not exist."""
    index = int(device.partition(":")[2] or 0)
    found = gpus()
    if index >= len(found):
        raise LookupError(device)
    return found[index]


def computes_bfloat16(device: str) -> bool:
    """Whether the device multiplies bfloat16 natively: CUDA capability 8.0 and up, or a CPU with `BF16_FLAGS`."""
    if device.startswith("cuda"):
        return gpu_of(device).capability >= (8, 0)
    return bool(cpu_flags() & BF16_FLAGS)


def free_bytes(device: str) -> int:
    """Memory that a new variant could take on the device, in bytes."""
    return gpu_of(device).free_bytes if device.startswith("cuda") else psutil.virtual_memory().available


def total_bytes(device: str) -> int:
    return gpu_of(device).total_bytes if device.startswith("cuda") else psutil.virtual_memory().total


def device_name(device: str) -> str:
    return gpu_of(device).name if device.startswith("cuda") else cpu_name()

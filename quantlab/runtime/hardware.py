"""What this machine has, found out without torch, so that the page can answer before torch is imported."""

import os
import platform
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

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
    import pynvml

    try:
        pynvml.nvmlInit()
        found = [_gpu(pynvml, i) for i in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return ()
    return tuple(found) if visible is None or "MIG-" in visible else _visible(found, visible.split(","))


def _visible(found: list[Gpu], names: list[str]) -> tuple[Gpu, ...]:
    """The devices that CUDA_VISIBLE_DEVICES names by index or UUID; CUDA stops at the first that does not exist."""
    chosen = []
    for name in map(str.strip, names):
        gpu = next((gpu for gpu in found if name and (name == str(gpu.index) or gpu.uuid.startswith(name))), None)
        if gpu is None:
            break
        chosen.append(gpu)
    return tuple(chosen)


def _gpu(pynvml, index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    capability = tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle))
    name, uuid = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetUUID(handle)
    return Gpu(index, name, memory.total, memory.free, capability, uuid)


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

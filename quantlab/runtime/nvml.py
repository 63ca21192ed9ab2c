"""What NVML, the driver's own library, says of the GPUs; every call guarded, each by itself.

Where it says less (WSL, MIG, containers, old drivers) each question has its own way to fail, and one that fails takes
neither another answer nor another device with it. What nobody tells is None here.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Reported:
    """One CUDA device, or one instance of a device that is split (MIG). Memory in bytes.

    `index` is NVML's; an instance has that of its device.
    """

    index: int
    name: str | None
    total_bytes: int | None
    free_bytes: int | None
    capability: tuple[int, int] | None
    uuid: str


def devices() -> tuple[Reported, ...]:
    """Every device, also one of which nothing is told; empty without a driver. A split one is its first instance.

    CUDA shows no more than that of a split device, unless its instances are named.
    """
    nvml = _started()
    count = _asked(nvml, lambda: nvml.nvmlDeviceGetCount()) or 0
    return tuple(_reported(nvml, i, _handle(nvml, i)) for i in range(count))


def instance(uuid: str) -> Reported | None:
    """The instance of a split device, by its name (`MIG-...`); None where there is none."""
    nvml = _started()
    handle = _asked(nvml, lambda: nvml.nvmlDeviceGetHandleByUUID(uuid))
    if handle is None:
        return None
    whole = _asked(nvml, lambda: nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle))
    index = _asked(nvml, lambda: nvml.nvmlDeviceGetIndex(whole)) if whole is not None else None
    return _reported(nvml, index or 0, whole, handle)


def process_bytes(index: int, uuid: str) -> int | None:
    """What this process holds on a device; None where NVML does not say (containers, WSL)."""
    nvml = _started()
    handle = _handle(nvml, index, uuid)
    running = _asked(nvml, lambda: list(nvml.nvmlDeviceGetComputeRunningProcesses(handle))) or ()
    mine = [process.usedGpuMemory for process in running if process.pid == os.getpid()]
    return next((nbytes for nbytes in mine if nbytes), None)


def used_bytes(index: int, uuid: str) -> int | None:
    """What all processes together hold on a device; None where NVML does not say."""
    nvml = _started()
    handle = _handle(nvml, index, uuid)
    return _number(_asked(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used))


def _started() -> Any:
    """The library, ready to be asked; None without it or without a driver."""
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml if _asked(pynvml, lambda: pynvml.nvmlInit() or True) else None


def _asked(nvml: Any, question: Callable[[], T]) -> T | None:
    """The answer, None where there is none. A library older or newer than its Python names may lack a function."""
    if nvml is None:
        return None
    try:
        return question()
    except (nvml.NVMLError, AttributeError, OSError, TypeError, ValueError):
        return None


def _handle(nvml: Any, index: int, uuid: str = "") -> Any:
    by_uuid = _asked(nvml, lambda: nvml.nvmlDeviceGetHandleByUUID(uuid)) if uuid else None
    return by_uuid if by_uuid is not None else _asked(nvml, lambda: nvml.nvmlDeviceGetHandleByIndex(index))


def _reported(nvml: Any, index: int, whole: Any, part: Any = None) -> Reported:
    """What is told of a device; `part` is the handle of an instance of it."""
    first = _first_instance(nvml, whole) if part is None else part
    handle = whole if first is None else first
    memory = _asked(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    name = _text(_asked(nvml, lambda: nvml.nvmlDeviceGetName(handle)))
    uuid = _text(_asked(nvml, lambda: nvml.nvmlDeviceGetUUID(handle)))
    # An instance computes as its device does, and is not asked everywhere.
    capability = _capability(nvml, whole) or _capability(nvml, handle)
    total, free = _number(getattr(memory, "total", None)), _number(getattr(memory, "free", None))
    return Reported(index, name, total, free, capability, uuid or "")


def _capability(nvml: Any, handle: Any) -> tuple[int, int] | None:
    told = _asked(nvml, lambda: tuple(map(int, nvml.nvmlDeviceGetCudaComputeCapability(handle))))
    return (told[0], told[1]) if told is not None and len(told) == 2 else None


def _first_instance(nvml: Any, handle: Any) -> Any:
    """The first instance of a device that is split now, else None."""
    mode = _asked(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle))
    if not mode or not mode[0]:  # none is told on devices that cannot be split
        return None
    most = _asked(nvml, lambda: nvml.nvmlDeviceGetMaxMigDeviceCount(handle)) or 0
    instances = (_instance_at(nvml, handle, i) for i in range(most))
    return next((found for found in instances if found is not None), None)


def _instance_at(nvml: Any, handle: Any, place: int) -> Any:
    return _asked(nvml, lambda: nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place))


def _text(told: str | bytes | None) -> str | None:
    return told.decode(errors="replace") if isinstance(told, bytes) else told


def _number(told: Any) -> int | None:
    return int(told) if isinstance(told, int) and told >= 0 else None

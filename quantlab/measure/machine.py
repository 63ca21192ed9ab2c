"""What the figures were measured on: processor, memory, its bandwidth, and the versions of what ran."""

import os
import platform
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from quantlab.records import Machine
from quantlab.runtime import hardware

PACKAGES = (
    *("quantlab", "torch", "transformers", "bitsandbytes", "accelerate", "tokenizers", "safetensors"),
    *("llama-cpp-python", "gguf", "gptqmodel", "optimum", "torchao", "hqq"),
)
#: Big enough that no cache holds it; read several times, the fastest counts.
_PROBE_BYTES = {"cpu": 2**28, "cuda": 2**30}
_PROBE_REPEATS = 7


@cache
def read_bandwidth(device: str) -> float | None:
    """Bytes per second at which this machine reads memory for a matrix-vector product, as decoding does.

    Measured once per process: float32 `[rows, 4096] @ [4096]` over a matrix that no cache holds, best of seven. None
    where the memory has no room for the matrix.
    """
    from quantlab.runtime.torch_session import is_out_of_memory

    try:
        return _measure_bandwidth(device)
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            return None
        raise


def _measure_bandwidth(device: str) -> float:
    import torch

    from quantlab.runtime.torch_session import synchronize

    columns = 4_096
    rows = _PROBE_BYTES[device.partition(":")[0]] // 4 // columns
    matrix, vector = torch.ones(rows, columns, device=device), torch.ones(columns, device=device)
    best = float("inf")
    for _ in range(_PROBE_REPEATS):
        synchronize(device)
        begun = time.perf_counter()
        matrix @ vector
        synchronize(device)
        best = min(best, time.perf_counter() - begun)
    return matrix.nbytes / best


def machine(device: str) -> Machine:
    """This machine with the device used. Takes a fraction of a second the first time (it measures the bandwidth)."""
    return Machine(
        cpu=hardware.cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=hardware.total_bytes("cpu"),
        device=f"{device} ({hardware.device_name(device)})",
        device_memory_bytes=hardware.total_bytes(device),
        system=platform.platform(terse=True),
        bandwidth=read_bandwidth(device),
    )


@cache
def versions() -> dict[str, str]:
    """Versions of Python and the packages that decide what is measured; those not installed are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

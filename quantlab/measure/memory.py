"""Peak memory while one prompt runs: CUDA's three figures, or an estimate from the resident set on CPU."""

import os
import threading
from pathlib import Path
from types import TracebackType

import psutil

from quantlab.records import Peak

_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
#: Between two looks at the resident set, where the system keeps no resettable peak of its own.
_SAMPLE_S = 0.01


def resident_bytes() -> int:
    """The resident set of this process."""
    return psutil.Process().memory_info().rss


class PeakMemory:
    """`with PeakMemory(device, running_bytes) as peak: ...; peak.result()`.

    What the process holds for other reasons (libraries, other variants) is not this variant's: the peak is
    `running_bytes` and the growth over the run. On CPU the resident set is what grows: Linux keeps its maximum exactly
    and lets it be reset; elsewhere a thread samples it. CUDA has three figures; reserved and NVML's are of the whole
    process, because nothing tells whose they are.
    """

    def __init__(self, device: str, running_bytes: int) -> None:
        self._device, self._running_bytes = device, running_bytes
        self._others = 0
        self._watch: _KernelPeak | _SampledPeak | None = None

    def __enter__(self) -> "PeakMemory":
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(self._device)
            self._others = torch.cuda.memory_allocated(self._device) - self._running_bytes
        else:
            self._others = resident_bytes() - self._running_bytes
            self._watch = _cpu_watch()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        if self._watch is not None:
            self._watch.stop()

    def result(self) -> Peak:
        """The figures up to now."""
        if self._watch is not None:
            return Peak(resident=max(self._running_bytes, self._watch.read() - self._others))
        import torch

        return Peak(
            allocated=torch.cuda.max_memory_allocated(self._device) - self._others,
            reserved=torch.cuda.max_memory_reserved(self._device),
            process=_nvml_process_bytes(self._device),
        )


def _cpu_watch() -> "_KernelPeak | _SampledPeak":
    try:
        return _KernelPeak()
    except (OSError, StopIteration):  # no Linux, or a container that allows or tells less
        return _SampledPeak()


class _KernelPeak:
    """VmHWM of Linux, which writing 5 to clear_refs sets back to the present (proc(5))."""

    def __init__(self) -> None:
        _CLEAR_REFS.write_text("5")
        self.read()

    def read(self) -> int:
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def stop(self) -> None:
        return None


class _SampledPeak:
    def __init__(self) -> None:
        self._highest = resident_bytes()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="quantlab-rss", daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._done.wait(_SAMPLE_S):
            self._highest = max(self._highest, resident_bytes())

    def read(self) -> int:
        self._highest = max(self._highest, resident_bytes())
        return self._highest

    def stop(self) -> None:
        self._done.set()
        self._thread.join()


def _nvml_process_bytes(device: str) -> int | None:
    """What NVML says this process holds on the device; None where it does not say (containers, WSL)."""
    import pynvml

    from quantlab.runtime.hardware import gpu_of

    handle = pynvml.nvmlDeviceGetHandleByIndex(gpu_of(device).index)
    for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
        if process.pid == os.getpid():
            return process.usedGpuMemory
    return None

"""Peak memory while one prompt runs: CUDA's three figures, or an estimate from NVML or the resident set."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil

from quantlab.records import Peak
from quantlab.runtime import nvml
from quantlab.runtime.hardware import gpu_of

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
    process, because nothing tells whose they are. A back end that takes its memory without torch (`by_torch` False)
    grows by what NVML sees on the device. `running` tells the bytes on each device where there are several; those of
    the `disk` take no memory.
    """

    def __init__(
        self, device: str, running_bytes: int, running: Mapping[str, int] | None = None, by_torch: bool = True
    ) -> None:
        held = {name: nbytes for name, nbytes in (running or {device: running_bytes}).items() if name != "disk"}
        self._held = held or {device: 0}
        self._by_torch = by_torch
        self._gpus = [name for name in self._held if name.startswith("cuda")]
        self._others: dict[str, int] = {}
        self._watches: dict[str, _Watch] = {}

    def __enter__(self) -> "PeakMemory":
        for device in self._gpus:
            if self._by_torch:
                import torch

                torch.cuda.reset_peak_memory_stats(device)
                self._others[device] = torch.cuda.memory_allocated(device) - self._held[device]
            elif (before := (read := _of_nvml(device))()) is not None:
                self._others[device] = before - self._held[device]
                self._watches[device] = _SampledPeak(read)
        if "cpu" in self._held:
            self._others["cpu"] = resident_bytes() - self._held["cpu"]
            self._watches["cpu"] = _cpu_watch()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for watch in self._watches.values():
            watch.stop()

    def result(self) -> Peak:
        """The figures up to now."""
        resident = self._watched(["cpu"]) if "cpu" in self._held else None
        if not self._gpus:
            return Peak(resident=resident)
        if not self._by_torch:
            return Peak(resident=resident, device=self._watched(self._gpus))
        import torch

        processes = [nvml_process_bytes(device) for device in self._gpus]
        told = [nbytes for nbytes in processes if nbytes is not None]
        return Peak(
            resident=resident,
            allocated=sum(torch.cuda.max_memory_allocated(it) - self._others[it] for it in self._gpus),
            reserved=sum(map(torch.cuda.max_memory_reserved, self._gpus)),
            process=sum(told) if len(told) == len(processes) else None,
        )

    def _watched(self, devices: Sequence[str]) -> int | None:
        """The sum of the devices' peaks, never less than what the variant keeps there; None where one is not told."""
        if any(device not in self._watches for device in devices):
            return None
        return sum(max(self._held[it], self._watches[it].read() - self._others[it]) for it in devices)


def _cpu_watch() -> "_Watch":
    try:
        return _KernelPeak()
    except (OSError, StopIteration):  # no Linux, or a container that allows or tells less
        return _SampledPeak(resident_bytes)


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
    """The highest of what `now` says, asked by a thread."""

    def __init__(self, now: Callable[[], int | None]) -> None:
        self._now = now
        self._highest = now() or 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="quantlab-rss", daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._done.wait(_SAMPLE_S):
            self._highest = max(self._highest, self._now() or 0)

    def read(self) -> int:
        self._highest = max(self._highest, self._now() or 0)
        return self._highest

    def stop(self) -> None:
        self._done.set()
        self._thread.join()


_Watch = _KernelPeak | _SampledPeak


def nvml_process_bytes(device: str) -> int | None:
    """What NVML says this process holds on the device; None where it does not say (containers, WSL)."""
    gpu = gpu_of(device)
    return nvml.process_bytes(gpu.index, gpu.uuid)


def _of_nvml(device: str) -> Callable[[], int | None]:
    """What to ask for the memory that grows with this process: its own, where NVML tells it, else the device's."""
    gpu = gpu_of(device)
    ask = nvml.used_bytes if nvml.process_bytes(gpu.index, gpu.uuid) is None else nvml.process_bytes
    return lambda: ask(gpu.index, gpu.uuid)

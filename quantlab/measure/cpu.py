"""What the processor did meanwhile: seconds of this process, and of everything else on the same cores."""

import os
import time
from collections.abc import Callable
from typing import NamedTuple

import psutil

from quantlab.records import CpuUse

#: A machine that was busy for less than this share of our own seconds counts otherwise than we do, or not at all.
_CREDIBLE = 0.7
#: Ticks of the machine's clocks are so long.
_TICK_S = 0.01


class Reading(NamedTuple):
    """Clocks that only go on: the wall's, this process's (all threads), and how long the cores were not idle."""

    wall_s: float
    own_s: float
    busy_s: float | None
    load: float | None


def cores() -> tuple[int, ...]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def read() -> Reading:
    """The clocks now. What a hypervisor gave to other machines (steal) is no time of ours, and counts as busy."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return Reading(time.perf_counter(), time.process_time(), _busy_s(), load)


def _busy_s() -> float | None:
    try:
        each = psutil.cpu_times(percpu=True)
    except (OSError, NotImplementedError, psutil.Error):
        return None
    mine = [each[core] for core in cores() if core < len(each)] or each
    # What guests take is in `user` and `nice` already.
    names = ("user", "nice", "system", "irq", "softirq", "steal", "interrupt", "dpc")
    return sum(getattr(core, name, 0.0) for core in mine for name in names)


class CpuClock:
    """Runs from its making; `use()` is what the processor did since. `threads` are those that compute."""

    def __init__(self, threads: int, read: Callable[[], Reading] = read) -> None:
        self._threads, self._read = threads, read
        self._begun = read()

    def use(self) -> CpuUse:
        """What was used up to now. `others_s` is None where the machine's clocks stand still or contradict ours."""
        now, begun = self._read(), self._begun
        own = now.own_s - begun.own_s
        others = None
        if now.busy_s is not None and begun.busy_s is not None:
            busy = now.busy_s - begun.busy_s
            others = max(0.0, busy - own) if busy >= _CREDIBLE * own - 2 * _TICK_S * len(cores()) else None
        return CpuUse(now.wall_s - begun.wall_s, own, others, len(cores()), self._threads, now.load)


def computing(device: str) -> int:
    """Threads that compute for a variant there: torch's on a CPU, one that hands the work over to a GPU."""
    import torch

    return torch.get_num_threads() if device == "cpu" else 1

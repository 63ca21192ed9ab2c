"""The peak of a run: what it grew by, and nothing of what the process held before."""

import threading
import time

import pytest

from quantlab.measure import memory
from quantlab.measure.memory import PeakMemory, resident_bytes
from quantlab.records import Peak
from quantlab.runtime.hardware import Gpu

BLOCK = 100_000_000
GB = 10**9
RUNNING = 5_000_000


@pytest.fixture(params=["kernel", "sampled"])
def watch(request, monkeypatch, tmp_path) -> None:
    """Both ways to see a peak: the kernel's own maximum, and a thread's samples where there is none."""
    if request.param == "sampled":
        monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "absent" / "clear_refs")
    kind = memory._cpu_watch()
    kind.stop()
    if request.param == "kernel" and not isinstance(kind, memory._KernelPeak):
        pytest.skip("this system has no resettable peak")
    assert isinstance(kind, memory._KernelPeak if request.param == "kernel" else memory._SampledPeak)


def allocate(bytes_: int = BLOCK) -> None:
    """Take memory that is really touched, hold it for a moment, and give it back."""
    block = b"\1" * bytes_
    time.sleep(0.1)
    del block


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "quantlab-rss"]


def test_an_allocation_shows_in_full(watch):
    with PeakMemory("cpu", RUNNING) as peak:
        allocate()
        result = peak.result()
    assert result.bytes == result.resident
    assert result.estimate and result.allocated is None
    assert abs(result.bytes - RUNNING - BLOCK) < 0.2 * BLOCK


def test_it_is_the_most_at_one_time_and_not_the_sum(watch):
    with PeakMemory("cpu", RUNNING) as peak:
        for _ in range(3):
            allocate(BLOCK // 2)
        assert abs(peak.result().bytes - RUNNING - BLOCK // 2) < 0.2 * BLOCK


def test_earlier_peaks_and_what_is_held_anyway_do_not_count(watch):
    allocate(2 * BLOCK)
    held = b"\1" * BLOCK
    with PeakMemory("cpu", RUNNING) as peak:
        time.sleep(0.03)
        assert RUNNING <= peak.result().bytes < RUNNING + 0.2 * BLOCK
    del held


def test_memory_given_back_does_not_make_the_peak_smaller_than_the_variant(watch):
    block = b"\1" * BLOCK
    with PeakMemory("cpu", RUNNING) as peak:
        del block
        assert peak.result().bytes >= RUNNING


def test_no_thread_is_left(watch):
    with pytest.raises(ZeroDivisionError), PeakMemory("cpu", RUNNING):
        raise ZeroDivisionError
    assert watchers() == []


@pytest.mark.parametrize("refusal", [PermissionError, FileNotFoundError])
def test_a_container_that_allows_no_reset_is_sampled(monkeypatch, refusal):
    class Refusing:
        def write_text(self, _text: str) -> None:
            raise refusal

    monkeypatch.setattr(memory, "_CLEAR_REFS", Refusing())
    with PeakMemory("cpu", RUNNING) as peak:
        assert len(watchers()) == 1
        assert peak.result().bytes >= RUNNING
    assert watchers() == []


def test_a_kernel_that_keeps_no_peak_is_sampled(monkeypatch, tmp_path):
    (tmp_path / "clear_refs").touch()
    (tmp_path / "status").write_text("Name:\tpython\n")
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "clear_refs")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    kind = memory._cpu_watch()
    kind.stop()
    assert isinstance(kind, memory._SampledPeak)


def test_resident_bytes_are_this_processs():
    before = resident_bytes()
    block = b"\1" * BLOCK
    assert resident_bytes() - before > 0.9 * BLOCK
    del block


@pytest.mark.gpu
def test_cuda_has_three_figures_of_which_the_first_is_exact():
    import torch

    before = torch.cuda.memory_allocated()
    mine = torch.ones(10_000_000, dtype=torch.uint8, device="cuda")
    running = torch.cuda.memory_allocated() - before
    with PeakMemory("cuda", running) as peak:
        block = torch.ones(BLOCK, dtype=torch.uint8, device="cuda")
        del block
        result = peak.result()
    assert not result.estimate and result.bytes == result.allocated and result.resident is None
    assert running + BLOCK <= result.allocated < running + BLOCK + 2**21
    assert result.reserved >= running + BLOCK
    # NVML does not tell a container which processes are its own.
    assert result.process is None or result.process > result.reserved
    del mine


class FakeGpus:
    """Memory of GPUs as NVML and as torch tell it, which a test changes while something runs."""

    def __init__(self, monkeypatch, gpus: int = 1, tells_processes: bool = True, tells_memory: bool = True) -> None:
        self.used, self.mine = [10 * GB] * gpus, [1 * GB] * gpus
        self.allocated, self.most = [1 * GB] * gpus, [1 * GB] * gpus
        monkeypatch.setattr(memory, "gpu_of", lambda device: Gpu(_number(device), "A100", 0, 0, (8, 0), ""))
        monkeypatch.setattr(
            memory.nvml, "process_bytes", lambda index, _: self.mine[index] if tells_processes else None
        )
        monkeypatch.setattr(memory.nvml, "used_bytes", lambda index, _: self.used[index] if tells_memory else None)

    def beneath_torch(self, monkeypatch) -> None:
        import torch

        def reset(device: str) -> None:
            self.most[_number(device)] = self.allocated[_number(device)]

        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: self.allocated[_number(device)])
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: self.most[_number(device)])
        monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 2 * self.most[_number(device)])

    def grow(self, index: int, nbytes: int, own: bool = True) -> None:
        self.used[index] += nbytes
        self.mine[index] += nbytes if own else 0


def _number(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def test_memory_that_torch_does_not_see_is_what_nvml_sees_grow(monkeypatch):
    """llama.cpp on a GPU: its peak was given as its running bytes, and as exact."""
    gpus = FakeGpus(monkeypatch)
    with PeakMemory("cuda", RUNNING, by_torch=False) as peak:
        gpus.grow(0, BLOCK)
        gpus.grow(0, 7 * BLOCK, own=False)  # another program
        result = peak.result()
    assert result.device == result.bytes == RUNNING + BLOCK
    assert result.estimate and result.allocated is None and result.resident is None
    assert watchers() == []


def test_where_nvml_tells_no_processes_the_device_is_what_grows(monkeypatch):
    gpus = FakeGpus(monkeypatch, tells_processes=False)
    with PeakMemory("cuda", RUNNING, by_torch=False) as peak:
        gpus.grow(0, 2 * BLOCK)
        time.sleep(0.1)
        gpus.grow(0, -BLOCK)
        assert peak.result().bytes == RUNNING + 2 * BLOCK, "what was given back again was in use once"
        gpus.grow(0, -10 * BLOCK)
    assert peak.result().estimate


def test_memory_given_back_on_a_gpu_does_not_make_the_peak_smaller_than_the_variant(monkeypatch):
    gpus = FakeGpus(monkeypatch)
    with PeakMemory("cuda", RUNNING, by_torch=False) as peak:
        gpus.grow(0, -BLOCK)
        assert peak.result().bytes >= RUNNING


def test_where_nvml_says_nothing_no_figure_is_made_up(monkeypatch):
    FakeGpus(monkeypatch, tells_processes=False, tells_memory=False)
    with PeakMemory("cuda", RUNNING, by_torch=False) as peak:
        assert peak.result() == Peak() and peak.result().bytes is None
    assert watchers() == []


def test_a_variant_on_two_gpus_has_the_peaks_of_both(monkeypatch):
    gpus = FakeGpus(monkeypatch, 2)
    gpus.beneath_torch(monkeypatch)
    gpus.most = [50 * GB, 50 * GB]  # of an earlier run
    with PeakMemory("cuda", 3 * RUNNING, {"cuda": RUNNING, "cuda:1": 2 * RUNNING}) as peak:
        gpus.most[0] += BLOCK
        gpus.most[1] += 2 * BLOCK
        result = peak.result()
    assert result.allocated == result.bytes == 3 * RUNNING + 3 * BLOCK
    assert not result.estimate and result.resident is None
    assert result.reserved == 2 * sum(gpus.most) and result.process == 2 * GB


def test_layers_on_the_cpu_beside_a_gpu_make_it_an_estimate(monkeypatch):
    gpus = FakeGpus(monkeypatch)
    gpus.beneath_torch(monkeypatch)
    with PeakMemory("cuda", 2 * RUNNING, {"cuda": RUNNING, "cpu": RUNNING, "disk": 50 * RUNNING}) as peak:
        gpus.most[0] += BLOCK
        allocate()
        result = peak.result()
    assert result.allocated == RUNNING + BLOCK and abs(result.resident - RUNNING - BLOCK) < 0.2 * BLOCK
    assert result.estimate and result.bytes == result.allocated + result.resident


def test_layers_on_the_disk_take_no_memory():
    with PeakMemory("cpu", 100 * BLOCK, {"cpu": RUNNING, "disk": 100 * BLOCK}) as peak:
        assert RUNNING <= peak.result().bytes < RUNNING + 0.2 * BLOCK

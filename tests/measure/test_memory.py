"""The peak of a run: what it grew by, and nothing of what the process held before."""

import threading
import time

import pytest

from quantlab.measure import memory
from quantlab.measure.memory import PeakMemory, resident_bytes

BLOCK = 100_000_000
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

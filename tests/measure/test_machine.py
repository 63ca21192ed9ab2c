"""What is said of the machine, and its bandwidth, which is measured once."""

import os

import pytest
import torch

from quantlab.measure import machine as module
from quantlab.measure.machine import machine, read_bandwidth, versions


@pytest.fixture
def unmeasured():
    """No bandwidth known before, nothing of the test's left behind."""
    read_bandwidth.cache_clear()
    yield
    read_bandwidth.cache_clear()


def test_the_bandwidth_is_plausible_and_measured_once(unmeasured, monkeypatch):
    measured = []
    measure = module._measure_bandwidth
    monkeypatch.setattr(module, "_measure_bandwidth", lambda device: measured.append(device) or measure(device))
    first = read_bandwidth("cpu")
    assert 0.5e9 < first < 5e12
    assert machine("cpu").bandwidth == read_bandwidth("cpu") == first
    assert measured == ["cpu"]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_without_room_for_the_measurement_there_is_no_figure(unmeasured, monkeypatch, error):
    def full(_device: str) -> float:
        raise error

    monkeypatch.setattr(module, "_measure_bandwidth", full)
    assert read_bandwidth("cpu") is None
    assert machine("cpu").bandwidth is None


def test_another_failure_of_the_measurement_stays_loud(unmeasured, monkeypatch):
    def broken(_device: str) -> float:
        raise RuntimeError("expected scalar type Float")

    monkeypatch.setattr(module, "_measure_bandwidth", broken)
    with pytest.raises(RuntimeError, match="scalar type"):
        read_bandwidth("cpu")


def test_the_machine_is_described(monkeypatch):
    monkeypatch.setattr(module, "read_bandwidth", lambda device: 1e10)
    found = machine("cpu")
    assert found.cpu and found.system
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert found.memory_bytes == found.device_memory_bytes > 2**28
    assert found.device == f"cpu ({found.cpu})" and found.bandwidth == 1e10


def test_versions_name_what_is_installed(monkeypatch):
    monkeypatch.setattr(module, "PACKAGES", ("torch", "transformers", "no-such-package"))
    versions.cache_clear()
    found = versions()
    versions.cache_clear()
    assert set(found) == {"python", "torch", "transformers"}
    assert found["torch"] == torch.__version__


@pytest.mark.gpu
def test_cuda_bandwidth_and_name(unmeasured):
    found = machine("cuda")
    assert found.device == f"cuda ({torch.cuda.get_device_name(0)})"
    assert found.device_memory_bytes >= torch.cuda.get_device_properties(0).total_memory
    assert 50e9 < found.bandwidth < 20e12

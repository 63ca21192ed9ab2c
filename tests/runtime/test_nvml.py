"""NVML that says less than it could: each question may fail by itself, and takes nothing else with it."""

from types import SimpleNamespace

import pytest

from quantlab.errors import BadInput
from quantlab.records import Placement
from quantlab.runtime import hardware, nvml
from quantlab.runtime.placement import resolve

GB = 2**30
ME = 4_242
CALLS = (
    "nvmlInit",
    "nvmlDeviceGetCount",
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetHandleByUUID",
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetCudaComputeCapability",
    "nvmlDeviceGetName",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetIndex",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetMaxMigDeviceCount",
    "nvmlDeviceGetMigDeviceHandleByIndex",
    "nvmlDeviceGetDeviceHandleFromMigDeviceHandle",
    "nvmlDeviceGetComputeRunningProcesses",
)
#: What CUDA's list of devices, and with it everything, hangs on.
NEEDED = ("nvmlInit", "nvmlDeviceGetCount")


class NVMLError(Exception):
    pass


class FakeNvml:
    """Two whole devices. `failing` maps a call to the handles for which it fails (None: for all)."""

    NVMLError = NVMLError

    def __init__(self, failing: dict[str, set | None] | None = None, error: type[Exception] = NVMLError) -> None:
        self.failing, self.error = failing or {}, error
        self.split: dict[int, list[str]] = {}
        self.processes = [SimpleNamespace(pid=ME, usedGpuMemory=3 * GB)]

    def __getattribute__(self, name):
        failing = object.__getattribute__(self, "__dict__").get("failing", {})
        found = object.__getattribute__(self, name)
        if name not in failing:
            return found

        def fails(*handles):
            if failing[name] is None or set(handles) & failing[name]:
                raise self.error("Not Supported")
            return found(*handles)

        return fails

    def nvmlInit(self):
        return None

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid):
        known = {f"GPU-{i}": i for i in range(2)} | {it: it for parts in self.split.values() for it in parts}
        if uuid not in known:
            raise NVMLError("Not Found")
        return known[uuid]

    def nvmlDeviceGetMemoryInfo(self, handle):
        if isinstance(handle, str):
            return SimpleNamespace(total=10 * GB, free=9 * GB, used=1 * GB)
        return SimpleNamespace(total=80 * GB, free=(20 + handle) * GB, used=(60 - handle) * GB)

    def nvmlDeviceGetCudaComputeCapability(self, handle):
        if isinstance(handle, str):
            raise NVMLError("Invalid Argument")
        return (8, 0)

    def nvmlDeviceGetName(self, handle):
        return b"A100" if handle == 0 else "A100 MIG 1g.10gb" if isinstance(handle, str) else "A100"

    def nvmlDeviceGetUUID(self, handle):
        return handle if isinstance(handle, str) else f"GPU-{handle}"

    def nvmlDeviceGetIndex(self, handle):
        return handle

    def nvmlDeviceGetMigMode(self, handle):
        return [int(handle in self.split), int(handle in self.split)]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, index):
        if index == 0 or index > len(self.split[handle]):  # its numbers have gaps
            raise NVMLError("Not Found")
        return self.split[handle][index - 1]

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, part):
        return next(handle for handle, parts in self.split.items() if part in parts)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return self.processes


@pytest.fixture
def machine_with(monkeypatch):
    """Put a fake NVML in, and torch's answers beside it: None where torch cannot say either."""
    hardware.default_device.cache_clear()

    def make(fake: FakeNvml, visible: str | None = None, torch_says=(40 * GB, 30 * GB, (9, 0))) -> FakeNvml:
        monkeypatch.setitem(__import__("sys").modules, "pynvml", fake)
        monkeypatch.setattr(hardware, "version", lambda _package: "2.13.0+cu130")
        monkeypatch.setattr("os.getpid", lambda: ME)
        if torch_says is not None:
            monkeypatch.setattr(hardware, "_asked_of_torch", lambda _ordinal: torch_says)
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        return fake

    yield make
    hardware.default_device.cache_clear()


def test_a_name_in_bytes_is_read(machine_with):
    machine_with(FakeNvml())
    assert [(gpu.name, gpu.uuid) for gpu in hardware.gpus()] == [("A100", "GPU-0"), ("A100", "GPU-1")]
    assert hardware.device_name("cuda") == "A100"


@pytest.mark.parametrize("error", [NVMLError, OSError, TypeError], ids=["NVML", "OS", "another version"])
@pytest.mark.parametrize("call", CALLS)
def test_whatever_call_fails_the_devices_stay(machine_with, call, error):
    machine_with(FakeNvml({call: None}, error))
    if call in NEEDED:
        assert hardware.gpus() == () and hardware.default_device() == "cpu"
        return
    assert len(hardware.gpus()) == 2 and resolve(Placement("auto")).device == "cuda"
    assert hardware.total_bytes("cuda:1") in (80 * GB, 40 * GB) and hardware.free_bytes("cuda:1") >= 21 * GB
    assert resolve(Placement("cuda:1")).compute_dtype == "bfloat16" and hardware.device_name("cuda:1")


@pytest.mark.parametrize("call", CALLS[2:8])
def test_one_device_that_fails_leaves_the_other_as_it_is(machine_with, call):
    machine_with(FakeNvml({call: {0}}))
    first, second = hardware.gpus()
    assert (second.index, second.name, second.total_bytes, second.free_bytes) == (1, "A100", 80 * GB, 21 * GB)
    assert second.capability == (8, 0) and second.uuid == "GPU-1"
    assert first.total_bytes in (80 * GB, 40 * GB) and first.name in ("A100", "CUDA device 0")


def test_a_function_that_the_library_lacks_is_one_that_fails(machine_with, monkeypatch):
    fake = machine_with(FakeNvml())
    for call in ("nvmlDeviceGetMigMode", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetUUID"):
        monkeypatch.delattr(FakeNvml, call)
    assert [gpu.free_bytes for gpu in hardware.gpus()] == [30 * GB] * 2
    assert nvml.used_bytes(0, "") is None and fake


def test_without_the_package_there_is_no_device(machine_with, monkeypatch):
    machine_with(FakeNvml())
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    assert hardware.gpus() == () and nvml.process_bytes(0, "GPU-0") is None


def test_where_nobody_tells_the_memory_the_device_keeps_its_place(machine_with):
    """Torch is asked for real here, and has no CUDA to tell of either."""
    machine_with(FakeNvml({"nvmlDeviceGetMemoryInfo": {0}}), torch_says=None)
    first, second = hardware.gpus()
    assert (first.total_bytes, first.free_bytes) == (0, 0) and second.free_bytes == 21 * GB
    assert hardware.gpu_of("cuda:1") is not None and hardware.free_bytes("cuda:1") == 21 * GB


def test_a_split_device_is_its_first_instance(machine_with):
    fake = machine_with(FakeNvml())
    fake.split = {0: ["MIG-a", "MIG-b"]}
    first, second = hardware.gpus()
    assert (first.name, first.total_bytes, first.free_bytes) == ("A100 MIG 1g.10gb", 10 * GB, 9 * GB)
    assert first.capability == (8, 0) and second.total_bytes == 80 * GB
    fake.failing = {"nvmlDeviceGetMigDeviceHandleByIndex": None}
    assert [gpu.total_bytes for gpu in hardware.gpus()] == [80 * GB] * 2


def test_an_instance_that_is_named_is_the_device(machine_with):
    fake = machine_with(FakeNvml(), visible="MIG-b")
    fake.split = {1: ["MIG-a", "MIG-b"]}
    (found,) = hardware.gpus()
    assert (found.index, found.uuid, found.total_bytes, found.capability) == (1, "MIG-b", 10 * GB, (8, 0))
    assert hardware.free_bytes("cuda") == 9 * GB and nvml.used_bytes(found.index, found.uuid) == GB
    with pytest.raises(BadInput, match="no device 'cuda:1' here"):
        resolve(Placement("cuda:1"))
    for call in ("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", "nvmlDeviceGetIndex", "nvmlDeviceGetName"):
        fake.failing = {call: None}
        assert hardware.free_bytes("cuda") == 9 * GB


def test_a_processs_own_share_is_told_or_not(machine_with):
    fake = machine_with(FakeNvml())
    assert nvml.process_bytes(0, "GPU-0") == nvml.process_bytes(0, "gone") == 3 * GB
    fake.processes = [SimpleNamespace(pid=ME, usedGpuMemory=None)]  # WSL
    assert nvml.process_bytes(0, "GPU-0") is None
    fake.processes = [SimpleNamespace(pid=1, usedGpuMemory=GB)]  # a container, which has numbers of its own
    assert nvml.process_bytes(0, "GPU-0") is None
    fake.failing = {"nvmlDeviceGetComputeRunningProcesses": None}
    assert nvml.process_bytes(0, "GPU-0") is None and nvml.used_bytes(1, "GPU-1") == 59 * GB

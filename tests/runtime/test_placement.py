"""From what was asked for to a placement that exists, on machines of every kind."""

import json
from types import SimpleNamespace

import pytest

from quantlab.errors import BadInput
from quantlab.records import Placement
from quantlab.runtime import hardware
from quantlab.runtime.placement import COMPUTE_DTYPES, compute_dtype, parse_device_map, resolve

GB = 2**30


@pytest.fixture(autouse=True)
def nothing_remembered():
    for remembered in (hardware.default_device, hardware._cpuinfo):
        remembered.cache_clear()
    yield
    for remembered in (hardware.default_device, hardware._cpuinfo):
        remembered.cache_clear()


class FakeNvml:
    """NVML of a machine with these GPUs: (name, capability, free bytes); its error where there is no driver."""

    class NVMLError(Exception):
        pass

    def __init__(self, *gpus: tuple[str, tuple[int, int], int], driver: bool = True) -> None:
        self.gpus, self.driver = gpus, driver

    def nvmlInit(self):
        if not self.driver:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(total=80 * GB, free=self.gpus[handle][2])

    def nvmlDeviceGetCudaComputeCapability(self, handle):
        return self.gpus[handle][1]

    def nvmlDeviceGetName(self, handle):
        return self.gpus[handle][0]

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-{'abc'[handle]}0000000-1111"


@pytest.fixture
def machine_with(monkeypatch):
    def make(*gpus, driver: bool = True, build: str = "2.13.0+cu130", visible: str | None = None) -> None:
        monkeypatch.setitem(__import__("sys").modules, "pynvml", FakeNvml(*gpus, driver=driver))
        monkeypatch.setattr(hardware, "version", lambda _package: build)
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return make


@pytest.fixture
def cpu_with(monkeypatch, tmp_path):
    def make(flags: str, name: str = "Example CPU @ 2 GHz") -> None:
        entry = f"processor\t: 0\nmodel name\t: {name}\nflags\t\t: {flags}\n"
        (tmp_path / "cpuinfo").write_text(f"{entry}\n{entry.replace(name, 'another')}\n")
        monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")

    return make


T4, A100, H100 = ("Tesla T4", (7, 5), 10 * GB), ("A100", (8, 0), 20 * GB), ("H100", (9, 0), 30 * GB)


def test_without_a_gpu_everything_is_on_the_cpu(machine_with):
    for lacking in ({"driver": False}, {"build": "2.13.0+cpu"}, {"visible": ""}, {"visible": "-1"}):
        hardware.default_device.cache_clear()
        machine_with(A100, **lacking)
        assert hardware.gpus() == (), lacking
        assert resolve(Placement("auto")).device == hardware.default_device() == "cpu"
        with pytest.raises(BadInput, match="no device 'cuda' here"):
            resolve(Placement("cuda"))
    machine_with()
    assert hardware.gpus() == ()


def test_with_a_gpu_auto_takes_it(machine_with):
    machine_with(T4, A100)
    assert resolve(Placement("auto")).device == resolve(Placement("cuda:0")).device == "cuda"
    assert hardware.device_name("cuda") == "Tesla T4" and hardware.device_name("cuda:1") == "A100"
    assert (hardware.free_bytes("cuda:1"), hardware.total_bytes("cuda")) == (20 * GB, 80 * GB)
    with pytest.raises(BadInput, match="no device 'cuda:2' here") as error:
        resolve(Placement("cuda:2"))
    assert "cpu" in error.value.advice


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["Tesla T4", "A100", "H100"]),
        ("2,0", ["H100", "Tesla T4"]),
        (" 1 ", ["A100"]),
        ("1,-1,2", ["A100"]),
        ("0,7,1", ["Tesla T4"]),
        ("-1", []),
        ("GPU-c0000000-1111,GPU-a", ["H100", "Tesla T4"]),
        ("GPU-nothing", []),
        ("MIG-1234", ["Tesla T4", "A100", "H100"]),
    ],
)
def test_the_devices_are_those_that_cuda_shows(machine_with, visible, names):
    machine_with(T4, A100, H100, visible=visible)
    assert [gpu.name for gpu in hardware.gpus()] == names


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "cuda1", "", "CPU", "cpu:0", "cuda:0:1"])
def test_unknown_devices_are_refused_with_the_valid_ones(name):
    with pytest.raises(BadInput, match="Unknown device") as error:
        resolve(Placement(name))
    assert "auto, cpu, cuda" in error.value.advice


@pytest.mark.parametrize(("gpu", "dtype"), [(T4, "float32"), (A100, "bfloat16"), (H100, "bfloat16")])
def test_the_compute_dtype_of_a_gpu_follows_its_capability(machine_with, gpu, dtype):
    machine_with(gpu)
    assert resolve(Placement("cuda")).compute_dtype == dtype


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [
        ("fpu sse avx2 avx512f", "float32"),
        ("fpu avx512_bf16", "bfloat16"),
        ("fpu amx_tile amx_bf16", "bfloat16"),
        ("fpu not_avx512_bf16", "float32"),
        ("", "float32"),
    ],
)
def test_the_compute_dtype_of_a_cpu_follows_its_flags(cpu_with, flags, dtype):
    cpu_with(flags)
    assert hardware.cpu_name() == "Example CPU @ 2 GHz"
    assert hardware.cpu_flags() == set(flags.split())
    assert resolve(Placement("cpu")).compute_dtype == compute_dtype(None, "cpu") == dtype


def test_a_system_without_cpuinfo_has_a_name_and_no_flags(monkeypatch, tmp_path):
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "absent")
    assert hardware.cpu_name() and hardware.cpu_flags() == set()
    assert compute_dtype(None, "cpu") == "float32"


@pytest.mark.parametrize("name", COMPUTE_DTYPES)
def test_a_compute_dtype_that_was_asked_for_is_kept(name):
    assert resolve(Placement("cpu", name)).compute_dtype == name


@pytest.mark.parametrize("name", ["int8", "uint8", "int4"])
def test_integers_are_refused_as_a_compute_dtype_with_the_reason(name):
    with pytest.raises(BadInput, match=f"{name} cannot be a compute dtype") as error:
        resolve(Placement("cpu", name))
    assert "floating point" in error.value.advice


def test_unknown_compute_dtypes_are_refused_with_the_valid_ones():
    with pytest.raises(BadInput, match="Unknown compute dtype 'bf16'") as error:
        resolve(Placement("cpu", "bf16"))
    assert all(name in error.value.advice for name in COMPUTE_DTYPES)


def test_memory_of_the_cpu_is_the_systems():
    assert 0 < hardware.free_bytes("cpu") < hardware.total_bytes("cpu")
    assert hardware.device_name("cpu") == hardware.cpu_name()


def test_device_maps_are_read_from_text_and_from_a_file(tmp_path):
    assert parse_device_map(None) is None
    assert parse_device_map("auto") == "auto"
    entries = {"model.embed_tokens": "cpu", "model.layers": 0, "lm_head": "disk"}
    expected = (("model.embed_tokens", "cpu"), ("model.layers", "cuda:0"), ("lm_head", "disk"))
    assert parse_device_map(f"  {json.dumps(entries)}") == expected
    (tmp_path / "map.json").write_text(json.dumps(entries))
    assert parse_device_map(str(tmp_path / "map.json")) == expected
    assert hash(Placement("cpu", None, expected)), "it is part of the cache's key"


@pytest.mark.parametrize("text", ["{", "no-such-file.json", "{}", "", "balanced"])
def test_what_is_no_device_map_is_refused(text):
    with pytest.raises(BadInput, match="device map"):
        parse_device_map(text)


@pytest.mark.parametrize("content", ["[1, 2]", '"cpu"', "\x80", "{}"])
def test_a_file_that_holds_no_device_map_is_refused(tmp_path, content):
    (tmp_path / "map.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(BadInput, match="device map"):
        parse_device_map(str(tmp_path / "map.json"))


@pytest.mark.gpu
def test_what_is_said_without_torch_is_what_torch_says():
    import torch

    assert len(hardware.gpus()) == torch.cuda.device_count()
    for i in range(torch.cuda.device_count()):
        gpu = hardware.gpu_of(f"cuda:{i}")
        assert gpu.name == torch.cuda.get_device_name(i)
        assert gpu.capability == torch.cuda.get_device_capability(i)
    assert hardware.default_device() == "cuda"
    native = torch.cuda.get_device_capability(0) >= (8, 0)
    assert resolve(Placement("auto")).compute_dtype == ("bfloat16" if native else "float32")


def test_a_device_map_names_only_what_is_here(monkeypatch):
    monkeypatch.setattr(hardware, "gpus", lambda: ())
    with pytest.raises(BadInput, match="no device 'cuda:1'"):
        resolve(Placement("cpu", device_map=(("model.layers.0", "cpu"), ("model.layers.1", "cuda:1"))))

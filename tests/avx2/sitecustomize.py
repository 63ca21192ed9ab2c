"""Python starts as on a processor without AVX-512, in every process that has this folder on its PYTHONPATH.

torch, oneDNN and MKL have variables of their own for this (`make test-avx2` sets them). bitsandbytes asks the processor
itself and quantlab reads /proc/cpuinfo: both are told here, as soon as they are imported and before anything uses them.
"""

import importlib.abc
import importlib.util
import sys
from types import ModuleType, SimpleNamespace


def _no_fused_kernels(functional: ModuleType) -> None:
    functional.has_avx512bf16 = lambda: False


def _older_processor(hardware: ModuleType) -> None:
    told = hardware.CPUINFO.read_text() if hardware.CPUINFO.exists() else ""
    kept = " ".join(word for word in told.replace("\n", " \n ").split(" ") if not word.startswith(("avx512", "amx")))
    kept = kept.replace(" \n ", "\n")
    hardware.CPUINFO = SimpleNamespace(read_text=lambda: kept)


CHANGES = {"bitsandbytes.functional": _no_fused_kernels, "quantlab.runtime.hardware": _older_processor}


class _Changed(importlib.abc.Loader):
    def __init__(self, name: str, loader: importlib.abc.Loader) -> None:
        self.name, self.loader = name, loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        CHANGES[self.name](module)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path, target=None):
        if fullname not in CHANGES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            sys.meta_path.insert(0, self)
        if spec and spec.loader:
            spec.loader = _Changed(fullname, spec.loader)
        return spec


sys.meta_path.insert(0, _Finder())

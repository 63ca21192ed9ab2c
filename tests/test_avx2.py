"""The switch with which the tests run as on a processor without AVX-512 does what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SWITCHES = dict(re.findall(r"(\w+)=(\w+) ", re.search("^AVX2 := .*", (TESTS.parent / "Makefile").read_text(), re.M)[0]))
ASKED = """
import torch
from bitsandbytes.backends.cpu import ops
from bitsandbytes.nn import Linear4bit, modules
from quantlab.records import Placement
from quantlab.runtime.placement import resolve
print(ops._has_avx512, bool(ops.has_avx512bf16()), bool(modules.has_avx512bf16()))
print(torch.backends.cpu.get_cpu_capability(), resolve(Placement("cpu")).compute_dtype)
"""


@pytest.mark.slow
def test_nothing_sees_the_wider_instructions():
    path = os.pathsep.join([str(TESTS / "avx2"), str(TESTS.parent)])
    environment = os.environ | SWITCHES | {"PYTHONPATH": path}
    told = subprocess.run([sys.executable, "-c", ASKED], env=environment, capture_output=True, text=True, check=True)
    assert len(SWITCHES) == 3
    assert told.stdout.split() == ["False", "False", "False", "AVX2", "float32"]

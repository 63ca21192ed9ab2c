"""Small models spoiled in ways that a seed draws end in an answer or a refusal. `python -m tests.fuzz N` for more."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="children by fork, limits of Linux")
def test_spoiled_models_are_refused_or_run():
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "12", "7"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr[-2_000:]
    assert "traceback: 0, over the limit: 0, process ended: 0" in ran.stdout

"""The package `spaces`, in a folder of its own: gradio would use it in every test where it is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

SPACES = "spaces==0.51.0"


@pytest.fixture(scope="session")
def spaces_package(tmp_path_factory) -> Path:
    """A folder for PYTHONPATH; without what `spaces` depends on, all of which quantlab has."""
    folder = tmp_path_factory.mktemp("spaces")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), SPACES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"{SPACES} cannot be had here: {done.stderr[-300:]}")
    return folder

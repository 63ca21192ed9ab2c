"""Folders of offloaded layers: gone with their variant, and what a killed process left gone with the next one."""

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from quantlab.checkpoints.load import load_variant
from quantlab.errors import Stopped, Unavailable
from quantlab.methods import precision
from quantlab.methods.transformers_loading import _offloaded
from quantlab.records import ResolvedPlacement, Variant, silent
from quantlab.runtime import offload
from quantlab.runtime.offload import OffloadFolder, sweep
from tests import tiny

SPLIT = (
    *((name, "cpu") for name in ("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head")),
    ("model.layers.0", "cpu"),
    ("model.layers.1", "disk"),
)
PLACEMENT = ResolvedPlacement("cpu", "float32", SPLIT)
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache" / ".offload"
    monkeypatch.setattr(offload, "_root", lambda: folder)
    return folder


def there(root: Path) -> list[str]:
    return sorted(file.name for file in root.iterdir()) if root.is_dir() else []


@pytest.mark.parametrize("name", ["fp32", "rtn-8"])
def test_a_variant_takes_its_folder_with_it(root, tmp_path, name):
    variant = Variant(tiny.write(tmp_path / "models", "llama"), precision(name), PLACEMENT)
    for _ in range(3):
        brought = load_variant(variant, silent)
        assert len(there(root)) == 2, "one folder and its lock"
        brought.loaded.close()
        del brought
        gc.collect()
        assert there(root) == []


def test_a_load_that_fails_or_is_stopped_leaves_none(root, tmp_path):
    variant = Variant(tiny.write(tmp_path / "models", "llama"), precision("fp32"), PLACEMENT)

    def stop(*_step) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        load_variant(variant, stop)
    assert there(root) == []


def test_without_layers_on_the_disk_there_is_none(root, tmp_path):
    for device_map in (None, "auto", (("", "cpu"),)):
        variant = Variant(
            tiny.write(tmp_path / "m", "llama"), precision("fp32"), ResolvedPlacement("cpu", "float32", device_map)
        )
        load_variant(variant, silent).loaded.close()
    assert there(root) == []


def test_what_a_killed_process_left_goes_and_what_a_living_one_uses_stays(root):
    mine = OffloadFolder()
    (mine.path / "layer").write_bytes(b"x" * 10)
    script = f"""
import sys, time
from pathlib import Path
from quantlab.runtime import offload
offload._root = lambda: Path({str(root)!r})
folder = offload.OffloadFolder()
(folder.path / "layer").write_bytes(b"x" * 1000)
print("ready", flush=True)
time.sleep(600)
"""
    child = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline().strip() == "ready"
    assert sweep() == 0 and len([it for it in there(root) if not it.endswith(".lock")]) == 2
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert len([it for it in there(root) if not it.endswith(".lock")]) == 2
    another = OffloadFolder()
    assert sorted(it for it in there(root) if not it.endswith(".lock")) == sorted((mine.path.name, another.path.name))
    for folder in (mine, another):
        folder.remove()
        folder.remove()
    assert there(root) == []
    if os.name == "posix":
        assert OffloadFolder().path.stat().st_mode & 0o777 == 0o700


def test_a_full_disk_is_said_so(root):
    from safetensors import SafetensorError

    told = "Error while serializing: I/O error: No space left on device (os error 28)"
    with pytest.raises(Unavailable, match="The disk is full"), _offloaded(PLACEMENT) as folder:
        (folder.path / "half").write_bytes(b"x")
        raise SafetensorError(told)
    assert there(root) == []
    with pytest.raises(ZeroDivisionError), _offloaded(PLACEMENT):
        raise ZeroDivisionError

"""The kept log-probabilities: whole or not there, capped, and never fatal."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from quantlab.errors import BadInput, Stopped, Unavailable
from quantlab.fidelity.reference import ScoreStore


def write(store: ScoreStore, key: str, tokens: int = 10, vocabulary: int = 8) -> torch.Tensor:
    table = torch.randn(tokens, vocabulary)
    with store.writing(key, tokens, vocabulary) as writer:
        for block in table.split(4):
            writer.append(block)
    return table


def test_what_was_written_is_read_in_blocks(tmp_path):
    store = ScoreStore(tmp_path, 10**6)
    assert store.find("a") is None
    table = write(store, "a")
    rows = store.find("a")
    assert torch.equal(torch.cat([rows.block(0, 3), rows.block(3, 7)]), table) and store.find("b") is None
    assert (rows.tokens, rows.vocabulary) == (10, 8) and np.array_equal(np.load(rows.file), table.numpy())


def test_half_a_table_is_never_found(tmp_path):
    store = ScoreStore(tmp_path, 10**6)
    with pytest.raises(Stopped), store.writing("a", 10, 8) as writer:
        writer.append(torch.randn(4, 8))
        raise Stopped
    with pytest.raises(RuntimeError, match="6 rows were not written"), store.writing("a", 10, 8) as writer:
        writer.append(torch.randn(4, 8))
    assert store.find("a") is None and not list(tmp_path.iterdir())


def test_a_damaged_table_counts_as_missing(tmp_path):
    store = ScoreStore(tmp_path, 10**6)
    write(store, "a")
    for content in (b"", b"no numpy file", (tmp_path / "a.npy").read_bytes()[:200]):
        (tmp_path / "a.npy").write_bytes(content)
        assert store.find("a") is None


def test_the_least_recently_used_go_first(tmp_path):
    size = 10 * 8 * 4 + 128
    store = ScoreStore(tmp_path, 2 * size)
    for age, key in ((300, "a"), (200, "b")):
        write(store, key)
        os.utime(tmp_path / f"{key}.npy", (time.time() - age,) * 2)
    store.find("a")
    write(store, "c")
    assert sorted(file.stem for file in tmp_path.iterdir()) == ["a", "c"]
    assert store.nbytes() == 2 * size
    store.clear()
    assert store.nbytes() == 0 and store.find("a") is None


def test_a_table_above_the_limit_is_refused_before_it_is_made(tmp_path):
    with pytest.raises(BadInput, match="Read fewer windows"):
        write(ScoreStore(tmp_path, 10 * 8 * 4 - 1), "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("clock", [-1e6, 0, 1e6], ids=["set back", "right", "set on"])
def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(clock, tmp_path):
    store = ScoreStore(tmp_path, 10**6)
    with store.writing("y", 10, 8) as writer:
        (written,) = tmp_path.glob("y.*.part")
        (left := tmp_path / "x.123.part").write_bytes(b"half")
        for file in (left, written):
            os.utime(file, (time.time() + clock,) * 2)
        write(store, "a")
        assert not left.exists() and written.exists()
        writer.append(torch.zeros(10, 8))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.npy", "y.npy"]


def test_a_killed_process_holds_no_lock(tmp_path):
    ends = "import os, sys; from pathlib import Path; from quantlab.fidelity.reference import ScoreStore\n"
    ends += "with ScoreStore(Path(sys.argv[1]), 10**6).writing('x', 10, 8): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", ends, str(tmp_path)])
    assert len(list(tmp_path.glob("x.*.part"))) == 1
    write(ScoreStore(tmp_path, 10**6), "a")
    assert [file.name for file in tmp_path.iterdir()] == ["a.npy"]


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space left on device"):
        write(ScoreStore(tmp_path, 10**6), "a")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        write(ScoreStore(tmp_path / "file" / "below", 10**6), "a")

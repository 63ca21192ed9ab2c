"""The notebooks in examples/: kept without outputs, and each runs from first to last cell, offline, on a CPU."""

import ast
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
#: What each must have shown, beside running through.
SHOWN = {
    "compare_in_five_lines": ("Comparison of demo", "done in", 'answers["nf4"] = answer(model)'),
    "choose_a_precision": ("Quality of demo", "done in", "my-model-nf4"),
    "gptq_calibration": ("GPTQ, calibrated", "Quality of demo", "down_proj"),
}


def read(file: Path):
    nbformat = pytest.importorskip("nbformat", reason="needs requirements-dev.txt")
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_there_is_one_for_each():
    assert {file.stem for file in NOTEBOOKS} == set(SHOWN)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_is_kept_without_outputs(file):
    notebook = read(file)
    assert all(
        cell.outputs == [] and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code"
    )
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert set(notebook.metadata.language_info) == {"name"}


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_begins_by_installing_only_what_is_missing(file):
    first, *others = code(read(file))
    assert re.search(r"try:\n    import quantlab\nexcept ImportError:\n    %pip install -q \$SOURCE\n", first)
    assert not any("pip install" in cell for cell in others)
    for cell in others:
        ast.parse(cell)


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs(file, monkeypatch, tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="needs requirements-dev.txt")
    pytest.importorskip("ipykernel", reason="needs requirements-dev.txt")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("QUANTLAB_DEVICE", "cpu")
    notebook = read(file)
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    told = "\n".join(map(text, (output for cell in notebook.cells for output in cell.get("outputs", ()))))
    assert all(each in told for each in SHOWN[file.stem])
    if file.stem == "gptq_calibration":
        errors = {name.strip(): float(value) for name, value in re.findall(r"^(.+?)\s+([\d.]+)%  █", told, re.M)}
        assert errors["GPTQ, calibrated"] < 0.8 * errors["plain rounding"]
        assert errors["GPTQ, no calibration"] == pytest.approx(errors["plain rounding"], abs=0.2)
        assert errors["GPTQ, calibrated"] < errors["GPTQ, 64 tokens"]


def text(output) -> str:
    if output.output_type == "stream":
        return output.text
    data = output.get("data", {})
    return data.get("text/html", data.get("text/plain", ""))

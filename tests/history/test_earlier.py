"""What earlier versions wrote is read, and gives the same figures."""

import json
import shutil
from pathlib import Path

import pytest

from quantlab.export import read_json, to_json
from quantlab.history import History

EARLIER = Path(__file__).parent / "earlier"
#: What runs got since those files were written, and what it is where nobody told it.
SINCE = {"node": "", "served": None}


def _known_then(told: dict) -> dict:
    """An export without what runs got since, which has to be empty."""
    for run in told["runs"]:
        assert {name: run.pop(name) for name in SINCE if name in run}.items() <= SINCE.items()
    return told


@pytest.fixture
def history(tmp_path) -> History:
    """Of the first schema: a comparison and a quality run of the demo at fp32 and nf4."""
    return History(Path(shutil.copy(EARLIER / "history-1.sqlite", tmp_path / "history.sqlite")))


@pytest.mark.parametrize("name", ["comparison-1.json", "quality-1.json"])
def test_an_earlier_export_is_read_and_written_with_the_same_figures(name):
    content = (EARLIER / name).read_text("utf-8")
    assert _known_then(json.loads(to_json(read_json(content.encode())))) == json.loads(content)


@pytest.mark.parametrize(("entry", "name"), [(1, "comparison-1.json"), (2, "quality-1.json")])
def test_an_earlier_history_is_read_with_the_same_figures(history, entry, name):
    record = history.get(entry)
    assert [run.precision for run in record.runs] == ["fp32", "nf4"]
    assert _known_then(json.loads(to_json(record))) == json.loads((EARLIER / name).read_text("utf-8"))


def test_an_earlier_history_is_listed_and_found(history):
    (line,) = history.entries("Ada")
    assert (line.id, line.kind, line.finished, line.failed) == (1, "comparison", ("fp32", "nf4"), ())
    assert [line.kind for line in history.entries()] == ["quality", "comparison"]
